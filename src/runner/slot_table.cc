#include "runner/slot_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "sampling/sampler.h"

namespace quire {
namespace {

size_t Index(SlotId slot) { return static_cast<size_t>(slot); }

}  // namespace

SlotTable::SlotTable(const SlotLimits& limits) : limits_(limits), slots_(static_cast<size_t>(limits.num_slots)) {}

const Slot& SlotTable::at(SlotId slot) const {
  QUIRE_CHECK_LT(Index(slot), slots_.size());
  QUIRE_CHECK(slots_[Index(slot)].active, "slot {} is empty", Index(slot));
  return slots_[Index(slot)];
}

Slot& SlotTable::Find(SlotId slot) { return const_cast<Slot&>(std::as_const(*this).at(slot)); }

void SlotTable::Apply(const StepPlan& plan) {
  for (const SlotFork& fork : plan.forks) Fork(fork);
  for (const SlotId slot : plan.removals) Find(slot).active = false;
  for (const Admission& admission : plan.admissions) Admit(admission);
  for (const TokenAppend& append : plan.token_appends) AppendOutput(append.slot, append.token);
  for (const BlockAppend& append : plan.appended_blocks) {
    QUIRE_CHECK_LT(static_cast<int64_t>(append.block), limits_.num_blocks);
    Find(append.slot).block_table.push_back(static_cast<uint32_t>(append.block));
  }
  for (const BlockCopy& copy : plan.copies) {
    QUIRE_CHECK_LT(static_cast<int64_t>(copy.source), limits_.num_blocks);
    QUIRE_CHECK_LT(static_cast<int64_t>(copy.destination), limits_.num_blocks);
    Slot& slot = Find(copy.slot);
    QUIRE_CHECK_LT(copy.table_index, slot.block_table.size());
    slot.block_table[copy.table_index] = static_cast<uint32_t>(copy.destination);
  }
}

void SlotTable::Fork(const SlotFork& fork) {
  const Slot& parent = at(fork.parent);
  QUIRE_CHECK_LT(Index(fork.child), slots_.size());
  QUIRE_CHECK_NE(Index(fork.child), Index(fork.parent));
  Slot& child = slots_[Index(fork.child)];
  child.longest = parent.longest;
  child.uses_penalties = parent.uses_penalties;
  Reserve(child);  // copies keep the capacity that is there
  child.active = true;
  child.request = parent.request;
  child.stream = fork.stream;
  child.num_prompt_tokens = parent.num_prompt_tokens;
  child.params = parent.params;
  child.stop_token_ids = parent.stop_token_ids;
  if (parent.uses_penalties) child.counts = parent.counts;
  child.block_table = parent.block_table;
}

void SlotTable::Admit(const Admission& admission) {
  QUIRE_CHECK_LT(Index(admission.slot), slots_.size());
  Slot& slot = slots_[Index(admission.slot)];
  QUIRE_CHECK(!slot.active, "slot {} is taken", Index(admission.slot));
  QUIRE_CHECK_LE(admission.num_prompt_tokens, admission.history.size());
  slot.active = true;
  slot.request = admission.request;
  slot.stream = admission.stream;
  slot.num_prompt_tokens = admission.num_prompt_tokens;
  slot.longest = LongestOf(admission);
  slot.params = admission.params;
  slot.stop_token_ids = admission.stop_token_ids;
  std::ranges::sort(slot.stop_token_ids);
  slot.uses_penalties = UsesPenalties(admission.params);
  slot.block_table.clear();
  slot.counts.Reset();
  Reserve(slot);
  if (!slot.uses_penalties) return;
  for (size_t i = 0; i < admission.history.size(); ++i) {
    const int32_t token = admission.history[i];
    QUIRE_CHECK(token >= 0 && token < limits_.vocab_size, "token {}", token);
    i < admission.num_prompt_tokens ? slot.counts.AddPrompt(token) : slot.counts.AddOutput(token);
  }
}

size_t SlotTable::LongestOf(const Admission& admission) const {
  auto longest = static_cast<size_t>(limits_.max_model_len);
  if (admission.params.max_tokens) {
    longest = std::min(longest, admission.num_prompt_tokens + static_cast<size_t>(*admission.params.max_tokens));
  }
  return std::max(longest, admission.history.size());
}

void SlotTable::Reserve(Slot& slot) const {
  const auto block_size = static_cast<size_t>(limits_.block_size);
  slot.block_table.reserve((slot.longest + block_size - 1) / block_size);
  if (slot.uses_penalties) slot.counts.Reserve(std::min(slot.longest, static_cast<size_t>(limits_.vocab_size)));
}

void SlotTable::AppendOutput(SlotId slot, int32_t token) {
  QUIRE_CHECK(token >= 0 && token < limits_.vocab_size, "token {}", token);
  Slot& state = Find(slot);
  if (state.uses_penalties) state.counts.AddOutput(token);
}

std::span<const int32_t> SlotTable::MaskedTokens(const Slot& slot, uint32_t position) const {
  const int64_t generated = int64_t{position} - int64_t{slot.num_prompt_tokens};
  if (generated >= slot.params.min_tokens) return {};
  return slot.stop_token_ids;
}

bool SlotTable::Covers(const Slot& slot, uint64_t end) const {
  return end <= static_cast<uint64_t>(limits_.max_model_len) &&
         end <= slot.block_table.size() * static_cast<uint64_t>(limits_.block_size);
}

}  // namespace quire
