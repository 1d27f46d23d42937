#include "sched/prompt_limit.h"

#include "sched/admitter.h"
#include "sched/residency.h"
#include "sched/step_builder.h"
#include "sched/waiting_queue.h"

namespace quire {

ChunkLimit PromptLimit(const ChunkBudget& budget, const SchedulerView& view) {
  constexpr int kMostAsked = 16;  // of those who do not run yet: by more of them no step would be changed
  const StepLoad& decodes = view.builder.step().decodes;
  if (!budget.Limits(decodes)) return {};
  const auto steps_waited = [&](const SequenceGroup& group) { return view.builder.number() - group.waits_since_step; };
  PromptDemand demand = budget.NoDemand();
  for (const SequenceGroup* group : view.residency.running()) {
    if (group->state != SequenceGroup::State::kRunning || group->Decodes()) continue;
    const Sequence& front = group->front();
    demand.Add(front.num_remaining(), front.kv.num_computed, steps_waited(*group));
  }
  const SequenceGroup* group = view.admitter.lacks_room() ? nullptr : view.waiting.First();
  for (int i = 0; i < kMostAsked && group != nullptr; ++i, group = view.waiting.After(*group)) {
    demand.Add(group->front().num_tokens(), 0, steps_waited(*group));
  }
  // Most steps only decode: then there is nobody whom a limit would concern.
  if (demand.num_prompts() == 0 && view.waiting.empty() && view.residency.swapped().empty()) return {};
  return budget.Limit(decodes, demand);
}

}  // namespace quire
