// Tasks: what is drawn, verified and scored.
#include <algorithm>

#include "base/error.h"
#include "sched/fake_runner_testing.h"
#include "sched/fake_tokens_testing.h"

namespace quire {

std::vector<int32_t> FakeRunner::Continue(std::vector<int32_t> tokens, uint64_t seed, uint32_t num_tokens,
                                          int32_t vocab_size) {
  uint64_t digest = 0;
  for (const int32_t token : tokens) digest = ExtendDigest(digest, token);
  std::vector<int32_t> output;
  for (auto position = static_cast<uint32_t>(tokens.size()); output.size() < num_tokens; ++position) {
    output.push_back(DrawnToken(digest, seed, position, vocab_size));
    digest = ExtendDigest(digest, output.back());
  }
  return output;
}

Status FakeRunner::RunTask(const StepPlan& plan, const RowTask& task) {
  QUIRE_ASSIGN_OR_RETURN(Seat * seat, Occupied(task.seat));
  const SamplingParams& params = seat->admission.params;
  const auto first_token = static_cast<uint32_t>(result_.tokens.size());
  if (task.kind == RowTask::Kind::kVerify) return Verify(plan, task, *seat);
  if (nans_.contains({seat->admission.request, task.position})) {
    result_.tasks.push_back({TaskResult::Status::kNan, first_token, 0});
    return {};
  }
  const uint64_t digest = row_digests_[task.row];
  if (task.kind == RowTask::Kind::kScore) {
    if (options_.verify && seat->history.at(task.position) != task.target) return Internal("score of a wrong target");
    Draw(task.target, digest, params.prompt_logprobs);
  } else if (task.kind == RowTask::Kind::kBest) {
    DrawBest(*seat, task, options_.verify ? digest : MixDigests(task.row, task.position));
  } else {
    for (uint32_t draw = 0; draw < task.draws; ++draw) {
      const uint64_t seed = params.seed.value_or(0) + task.stream + draw;
      Draw(DrawnToken(digest, seed, task.position, options_.vocab_size), digest, params.logprobs);
    }
  }
  result_.tasks.push_back(
      {TaskResult::Status::kOk, first_token, static_cast<uint32_t>(result_.tokens.size()) - first_token});
  return {};
}

Status FakeRunner::Verify(const StepPlan& plan, const RowTask& task, Seat& seat) {
  const SamplingParams& params = seat.admission.params;
  const auto first_token = static_cast<uint32_t>(result_.tokens.size());
  if (task.draws == 0 || task.row + task.draws > plan.num_rows()) return Internal("a verify task of {}", task.draws);
  for (uint32_t i = 0; i < task.draws; ++i) {
    if (nans_.contains({seat.admission.request, task.position + i})) {
      if (i > 0) break;  // the next step comes to it again
      result_.tasks.push_back({TaskResult::Status::kNan, first_token, 0});
      return {};
    }
    // A history that is not verified is a function of seed and position alone.
    const uint64_t digest = options_.verify ? row_digests_[task.row + i] : 0;
    const uint64_t seed = params.seed.value_or(0) + task.stream;
    const int32_t token = DrawnToken(digest, seed, task.position + i, options_.vocab_size);
    Draw(token, digest, params.logprobs);
    if (i + 1 == task.draws || plan.tokens[task.row + i + 1] != token) break;
    if (options_.verify) seat.history.push_back(token);
  }
  seat.num_computed = task.position - 1 + static_cast<uint32_t>(result_.tokens.size()) - first_token;
  result_.tasks.push_back(
      {TaskResult::Status::kOk, first_token, static_cast<uint32_t>(result_.tokens.size()) - first_token});
  return {};
}

// Likelihoods that fall with the rank, by steps that depend on the sequence; ranks that depend on it too.
void FakeRunner::DrawBest(const Seat& seat, const RowTask& task, uint64_t digest) {
  const Admission& admission = seat.admission;
  const bool masks = static_cast<int64_t>(task.position) - admission.num_prompt_tokens < admission.params.min_tokens;
  const auto first =
      static_cast<int32_t>(MixDigests(digest, task.position) % static_cast<uint64_t>(options_.vocab_size));
  float logprob = 0;
  uint32_t num_drawn = 0;
  for (int32_t i = 0; i < options_.vocab_size && num_drawn < task.draws; ++i) {
    const int32_t token = (first + i) % options_.vocab_size;
    logprob -= 0.01F + static_cast<float>(MixDigests(digest, static_cast<uint32_t>(i)) % 64) / 64.0F;
    if (masks && std::ranges::find(admission.stop_token_ids, token) != admission.stop_token_ids.end()) continue;
    result_.tokens.push_back({.token = token, .logprob = logprob, .rank = static_cast<uint32_t>(i) + 1});
    ++num_drawn;
  }
}

void FakeRunner::Draw(int32_t token, uint64_t digest, std::optional<int32_t> num_candidates) {
  TokenOutput output = {
      .token = token,
      .logprob = -static_cast<float>(MixDigests(digest, static_cast<uint32_t>(token)) % 1000) / 100.0F,
      .rank = 1,
      .first_candidate = static_cast<uint32_t>(result_.candidates.size())};
  for (int32_t i = 0; i < num_candidates.value_or(0); ++i) {
    result_.candidates.push_back({(token + i) % options_.vocab_size, output.logprob - static_cast<float>(i)});
    ++output.num_candidates;
  }
  result_.tokens.push_back(output);
}

}  // namespace quire
