#include "sched/step_plan.h"

#include <tuple>

namespace quire {
namespace {

auto Fields(const SamplingParams& p) {
  return std::tie(p.temperature, p.top_p, p.top_k, p.min_p, p.repetition_penalty, p.presence_penalty,
                  p.frequency_penalty, p.logit_bias, p.seed, p.max_tokens, p.min_tokens, p.stop,
                  p.include_stop_str_in_output, p.stop_token_ids, p.ignore_eos, p.logprobs, p.prompt_logprobs,
                  p.skip_special_tokens, p.detokenize, p.n, p.best_of, p.use_beam_search, p.beam_width,
                  p.length_penalty, p.early_stopping);
}

auto Fields(const Admission& a) {
  return std::tie(a.seat, a.request, a.stream, a.stop_token_ids, a.history, a.num_prompt_tokens);
}

auto Fields(const StepPlan& p) {
  return std::tie(p.step, p.forks, p.removals, p.admissions, p.token_appends, p.appended_blocks, p.copies, p.transfers,
                  p.transfer_tokens, p.spans, p.tokens, p.tasks, p.masks_follow, p.await_transfers);
}

auto Fields(const StepResult& r) {
  return std::tie(r.step, r.tasks, r.tokens, r.candidates, r.pooled, r.transfers_completed, r.transfers_failed,
                  r.forward_us, r.sample_us, r.swap_out_us, r.swap_in_us);
}

}  // namespace

bool operator==(const Admission& a, const Admission& b) {
  return Fields(a) == Fields(b) && Fields(a.params) == Fields(b.params);
}

bool operator==(const StepPlan& a, const StepPlan& b) { return Fields(a) == Fields(b); }

bool operator==(const StepResult& a, const StepResult& b) { return Fields(a) == Fields(b); }

void StepPlan::Clear() {
  step = 0;
  forks.clear();
  removals.clear();
  admissions.clear();
  token_appends.clear();
  appended_blocks.clear();
  copies.clear();
  transfers.clear();
  transfer_tokens.clear();
  spans.clear();
  tokens.clear();
  tasks.clear();
  masks_follow = false;
  await_transfers = false;
}

void StepResult::Clear() {
  step = 0;
  tasks.clear();
  tokens.clear();
  candidates.clear();
  pooled.clear();
  transfers_completed.clear();
  transfers_failed.clear();
  forward_us = 0;
  sample_us = 0;
  swap_out_us = 0;
  swap_in_us = 0;
}

}  // namespace quire
