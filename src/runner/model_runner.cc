#include "runner/model_runner.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "runner/kv_populator.h"
#include "runner/seat_table.h"
#include "runner/wanted_logits.h"
#include "sampling/sample_task.h"
#include "tensor/buffer.h"

namespace quire {
namespace {

int64_t LogitRows(const ModelRunnerOptions& options) {
  return std::min<int64_t>(kMaxLogitRows, options.max_num_batched_tokens);
}

size_t ArenaBytes(const ModelConfig& config, const ModelRunnerOptions& options) {
  return PassArenaBytes(config, options.max_num_batched_tokens, LogitRows(options));
}

Status CheckOptions(const ModelRunnerOptions& options) {
  if (options.max_num_seqs < 1 || options.max_num_batched_tokens < 1 || options.max_model_len < 1) {
    return InvalidArgument("max_num_seqs {}, max_num_batched_tokens {} and max_model_len {} must be at least 1",
                           options.max_num_seqs, options.max_num_batched_tokens, options.max_model_len);
  }
  if (options.num_blocks < 1) return InvalidArgument("the KV cache has {} blocks: it needs one", options.num_blocks);
  if (options.block_size < 1 || options.block_size > 256 ||
      !std::has_single_bit(static_cast<uint32_t>(options.block_size))) {
    return InvalidArgument("block_size is {}: it must be a power of two from 1 to 256", options.block_size);
  }
  return {};
}

// That follow a step, of the task.
uint32_t NumMasks(const RowTask& task) {
  if (task.kind == RowTask::Kind::kVerify) return task.draws;
  return task.kind == RowTask::Kind::kSample ? 1 : 0;
}

SampleTask::Kind SampleKindOf(RowTask::Kind kind) {
  switch (kind) {
    case RowTask::Kind::kSample:
      return SampleTask::Kind::kDraw;
    case RowTask::Kind::kVerify:
      return SampleTask::Kind::kVerify;
    case RowTask::Kind::kScore:
      return SampleTask::Kind::kScore;
    case RowTask::Kind::kBest:
      return SampleTask::Kind::kBest;
  }
  return SampleTask::Kind::kDraw;
}

class ModelRunnerImpl final : public ModelRunner {
 public:
  ModelRunnerImpl(Backend& backend, const Model& model, const ModelRunnerOptions& options, BlockStores stores,
                  std::unique_ptr<KvCache> cache, Buffer arena, std::unique_ptr<Batch> batch);

  Status Submit(const StepPlan& plan) override;
  Status Sample(const StepMasks& masks) override;
  Status Collect(StepResult& result) override;
  const KvShape& kv_shape() const override { return cache_->shape(); }

  Status PopulateKv() {
    QUIRE_ASSIGN_OR_RETURN(populator_, KvPopulator::Start(backend_, *cache_));
    return {};
  }

 private:
  enum class State : uint8_t { kIdle, kAwaitsMasks, kDone };

  void CopyBlocks(const StepPlan& plan);
  void BuildBatch(const StepPlan& plan);
  void ExtendHistories(const StepPlan& plan);
  void CheckTasks(const StepPlan& plan) const;
  void LayOutResult();
  void RunTasks(const StepMasks* masks);
  size_t FormLogitChunk(size_t begin);
  void RunChunk(size_t begin, size_t end, const StepMasks* masks);
  SampleTask MakeSampleTask(size_t index, const StepMasks* masks);
  void TakeOutcomes(size_t index, const SampleTask& sampled);
  void CheckMasks(const StepMasks& masks) const;
  size_t NumTokens(const RowTask& task) const;
  size_t NumCandidates(const RowTask& task) const;

  Backend& backend_;
  const Model& model_;
  const size_t max_rows_;
  const size_t max_logit_rows_;
  const int32_t vocab_size_;
  std::unique_ptr<KvCache> cache_;
  BlockTransfers transfers_;  // goes before the cache that its threads touch
  std::optional<KvPopulator> populator_;
  Arena arena_;
  std::unique_ptr<Batch> batch_;
  SeatTable seats_;

  State state_ = State::kIdle;
  bool await_transfers_ = false;
  StepResult result_;

  // The step at work.
  std::vector<int32_t> tokens_;  // [rows]
  std::vector<BatchSpan> spans_;
  std::vector<std::pair<uint32_t, uint32_t>> copies_;
  std::vector<RowTask> tasks_;
  std::vector<uint32_t> mask_index_;            // per task: which of the masks is its first
  std::vector<int32_t> chunk_rows_;             // rows whose logits are made together
  std::vector<uint32_t> chunk_row_;             // per task: its place in chunk_rows_
  std::vector<SampleTask> sample_tasks_;        // of the chunk
  std::vector<SampleOutcome> outcomes_;         // [tokens of the result]
  std::vector<SampledCandidate> alternatives_;  // [candidates of the result]
  Tensor hidden_;
};

ModelRunnerImpl::ModelRunnerImpl(Backend& backend, const Model& model, const ModelRunnerOptions& options,
                                 BlockStores stores, std::unique_ptr<KvCache> cache, Buffer arena,
                                 std::unique_ptr<Batch> batch)
    : backend_(backend),
      model_(model),
      max_rows_(static_cast<size_t>(options.max_num_batched_tokens)),
      max_logit_rows_(static_cast<size_t>(LogitRows(options))),
      vocab_size_(model.config().vocab_size),
      cache_(std::move(cache)),
      transfers_(backend, *cache_, std::move(stores)),
      arena_(std::move(arena), Place::kDevice),
      batch_(std::move(batch)),
      seats_({.num_seats = options.max_num_seqs,
              .num_blocks = options.num_blocks,
              .block_size = options.block_size,
              .num_groups = static_cast<int32_t>(model.kv_layout().groups.size()),
              .max_model_len = options.max_model_len,
              .vocab_size = vocab_size_}) {
  tokens_.reserve(max_rows_);
  spans_.reserve(static_cast<size_t>(options.max_num_seqs));
  tasks_.reserve(max_rows_);
  chunk_rows_.reserve(max_logit_rows_);
}

Status ModelRunnerImpl::Submit(const StepPlan& plan) {
  QUIRE_CHECK(state_ == State::kIdle, "one step is in flight at a time");
  const TimeUs start = Clock::Real().NowUs();
  result_.Clear();
  result_.step = plan.step;
  await_transfers_ = plan.await_transfers;
  seats_.Apply(plan);
  TimeUs transfer_us = transfers_.MoveOut(plan, result_);
  CopyBlocks(plan);
  transfer_us += transfers_.MoveIn(plan, result_);
  arena_.Reset();
  BuildBatch(plan);
  CheckTasks(plan);
  ExtendHistories(plan);
  tasks_.assign(plan.tasks.begin(), plan.tasks.end());
  if (!tokens_.empty()) {
    backend_.Prepare(*batch_, tokens_, spans_);
    hidden_ = model_.Forward(*batch_, *cache_, arena_);
  }
  result_.forward_us = Clock::Real().NowUs() - start - transfer_us;
  state_ = State::kAwaitsMasks;
  if (!plan.masks_follow) RunTasks(nullptr);
  return {};
}

Status ModelRunnerImpl::Sample(const StepMasks& masks) {
  QUIRE_CHECK(state_ == State::kAwaitsMasks, "no step waits for masks");
  CheckMasks(masks);
  RunTasks(&masks);
  return {};
}

void ModelRunnerImpl::CheckMasks(const StepMasks& masks) const {
  size_t num_masks = 0;
  for (const RowTask& task : tasks_) num_masks += NumMasks(task);
  QUIRE_CHECK_EQ(masks.offsets.size(), num_masks);
  for (const uint32_t offset : masks.offsets) {
    QUIRE_CHECK(offset == StepMasks::kAll || size_t{offset} + masks.words_per_mask <= masks.words.size(), "{}", offset);
  }
}

Status ModelRunnerImpl::Collect(StepResult& result) {
  QUIRE_CHECK(state_ == State::kDone, "no step has been done");
  transfers_.Collect(await_transfers_, result_);
  state_ = State::kIdle;
  std::swap(result, result_);
  return {};
}

void ModelRunnerImpl::CopyBlocks(const StepPlan& plan) {
  if (plan.copies.empty()) return;
  copies_.clear();
  for (const BlockCopy& copy : plan.copies) {
    copies_.emplace_back(static_cast<uint32_t>(copy.source), static_cast<uint32_t>(copy.destination));
  }
  backend_.CopyBlocks(*cache_, copies_);
}

void ModelRunnerImpl::BuildBatch(const StepPlan& plan) {
  QUIRE_CHECK_LE(plan.num_rows(), max_rows_);
  tokens_.clear();
  for (const int32_t token : plan.tokens) {
    QUIRE_CHECK(token >= 0 && token < vocab_size_, "token {}", token);
    tokens_.push_back(token);
  }
  spans_.clear();
  size_t next_row = 0;
  for (const PlanSpan& span : plan.spans) {
    const Seat& seat = seats_.at(span.seat);
    QUIRE_CHECK_EQ(span.first_row, next_row);
    QUIRE_CHECK(span.num_rows > 0);
    QUIRE_CHECK(seats_.Covers(seat, uint64_t{span.first_position} + span.num_rows),
                "seat {} has {} blocks, too few for positions {} to {}", static_cast<uint32_t>(span.seat),
                *std::ranges::min_element(seat.num_blocks), span.first_position, span.first_position + span.num_rows);
    next_row += span.num_rows;
    spans_.push_back({.first_row = static_cast<int32_t>(span.first_row),
                      .num_rows = static_cast<int32_t>(span.num_rows),
                      .first_position = static_cast<int32_t>(span.first_position),
                      .block_table = seat.block_tables.data(),
                      .table_stride = static_cast<int64_t>(seat.table_stride)});
  }
  QUIRE_CHECK_EQ(next_row, tokens_.size());
}

// By the rows that are not drafts.
void ModelRunnerImpl::ExtendHistories(const StepPlan& plan) {
  size_t task = 0;
  for (const PlanSpan& span : plan.spans) {
    uint32_t num_known = span.num_rows;
    for (; task < plan.tasks.size() && plan.tasks[task].row < span.first_row + span.num_rows; ++task) {
      if (plan.tasks[task].kind == RowTask::Kind::kVerify) num_known = plan.tasks[task].row - span.first_row + 1;
    }
    seats_.ExtendHistory(span.seat, span.first_position, std::span(tokens_).subspan(span.first_row, num_known));
  }
}

void ModelRunnerImpl::CheckTasks(const StepPlan& plan) const {
  size_t span = 0;
  for (const RowTask& task : plan.tasks) {
    while (span < plan.spans.size() && task.row >= plan.spans[span].first_row + plan.spans[span].num_rows) ++span;
    QUIRE_CHECK(span < plan.spans.size() && task.row >= plan.spans[span].first_row, "tasks ascend by row: {}",
                task.row);
    QUIRE_CHECK_EQ(static_cast<uint32_t>(task.seat), static_cast<uint32_t>(plan.spans[span].seat));
    if (task.kind == RowTask::Kind::kScore) {
      QUIRE_CHECK(task.target >= 0 && task.target < vocab_size_, "target {}", task.target);
    }
    QUIRE_CHECK(task.kind != RowTask::Kind::kBest || task.draws > 0, "a best task of no tokens");
    if (task.kind == RowTask::Kind::kVerify) {
      const uint32_t num_left = plan.spans[span].first_row + plan.spans[span].num_rows - task.row;
      QUIRE_CHECK(task.draws == num_left && num_left <= max_logit_rows_, "{} draws of {} rows", task.draws, num_left);
    }
  }
}

size_t ModelRunnerImpl::NumTokens(const RowTask& task) const {
  switch (task.kind) {
    case RowTask::Kind::kSample:
    case RowTask::Kind::kVerify:
      return task.draws;
    case RowTask::Kind::kScore:
      return 1;
    case RowTask::Kind::kBest:
      return std::min<size_t>(task.draws, static_cast<size_t>(vocab_size_));
  }
  return 0;
}

size_t ModelRunnerImpl::NumCandidates(const RowTask& task) const {
  if (task.kind == RowTask::Kind::kBest) return 0;
  const SamplingParams& params = seats_.at(task.seat).params;
  const std::optional<int32_t>& wanted = task.kind == RowTask::Kind::kScore ? params.prompt_logprobs : params.logprobs;
  return static_cast<size_t>(std::clamp(wanted.value_or(0), 0, std::min(kMaxLogprobs, vocab_size_)));
}

// Every task's tokens and candidates get their places first, so that they can be filled in any order.
void ModelRunnerImpl::LayOutResult() {
  result_.tasks.resize(tasks_.size());
  mask_index_.resize(tasks_.size());
  uint32_t num_masks = 0;
  for (size_t i = 0; i < tasks_.size(); ++i) {
    const RowTask& task = tasks_[i];
    mask_index_[i] = num_masks;
    result_.tasks[i].first_token = static_cast<uint32_t>(result_.tokens.size());
    num_masks += NumMasks(task);
    const size_t num_tokens = NumTokens(task), num_candidates = NumCandidates(task);
    for (size_t draw = 0; draw < num_tokens; ++draw) {
      result_.tokens.push_back({.first_candidate = static_cast<uint32_t>(result_.candidates.size()),
                                .num_candidates = static_cast<uint32_t>(num_candidates)});
      result_.candidates.resize(result_.candidates.size() + num_candidates);
    }
    result_.tasks[i].num_tokens = static_cast<uint32_t>(num_tokens);
  }
  outcomes_.resize(result_.tokens.size());
  alternatives_.resize(result_.candidates.size());
}

void ModelRunnerImpl::RunTasks(const StepMasks* masks) {
  const TimeUs start = Clock::Real().NowUs();
  LayOutResult();
  chunk_row_.resize(tasks_.size());
  for (size_t begin = 0; begin < tasks_.size();) {
    const size_t end = FormLogitChunk(begin);
    if (!chunk_rows_.empty()) RunChunk(begin, end, masks);
    begin = end;
  }
  result_.sample_us = Clock::Real().NowUs() - start;
  state_ = State::kDone;
}

// Tasks from `begin` on, until their rows fill a chunk; returns the end.
size_t ModelRunnerImpl::FormLogitChunk(size_t begin) {
  chunk_rows_.clear();
  size_t end = begin;
  for (; end < tasks_.size(); ++end) {
    const RowTask& task = tasks_[end];
    const auto row = static_cast<int32_t>(task.row);
    const bool is_there = !chunk_rows_.empty() && chunk_rows_.back() == row;
    const uint32_t num_rows = task.kind == RowTask::Kind::kVerify ? task.draws : 1;
    const uint32_t num_more = is_there ? num_rows - 1 : num_rows;
    if (chunk_rows_.size() + num_more > max_logit_rows_) break;
    chunk_row_[end] = static_cast<uint32_t>(chunk_rows_.size() - (is_there ? 1 : 0));
    for (uint32_t i = num_rows - num_more; i < num_rows; ++i) chunk_rows_.push_back(row + static_cast<int32_t>(i));
  }
  return end;
}

void ModelRunnerImpl::RunChunk(size_t begin, size_t end, const StepMasks* masks) {
  const size_t mark = arena_.mark();
  const Tensor logits = WantedLogits(model_, backend_, *batch_, hidden_, chunk_rows_, arena_);
  sample_tasks_.clear();
  for (size_t i = begin; i < end; ++i) sample_tasks_.push_back(MakeSampleTask(i, masks));
  backend_.Sample({.batch = batch_.get(), .logits = logits, .tasks = sample_tasks_});
  for (size_t i = begin; i < end; ++i) TakeOutcomes(i, sample_tasks_[i - begin]);
  arena_.Release(mark);
}

static_assert(StepMasks::kAll == AllowedTokens::kAll);

SampleTask ModelRunnerImpl::MakeSampleTask(size_t index, const StepMasks* masks) {
  const RowTask& task = tasks_[index];
  const TaskResult& result = result_.tasks[index];
  const Seat& seat = seats_.at(task.seat);
  SampleTask sample = {.kind = SampleKindOf(task.kind),
                       .row = chunk_row_[index],
                       .params = &seat.params,
                       .counts = seat.uses_penalties ? &seat.counts : nullptr,
                       .masked_tokens = seat.stop_token_ids,
                       .masked_before = seat.num_prompt_tokens + static_cast<uint32_t>(seat.params.min_tokens),
                       .key = {.seed = seat.params.seed.value_or(0), .stream = task.stream, .position = task.position},
                       .target = task.target,
                       .outcomes = std::span(outcomes_).subspan(result.first_token, result.num_tokens)};
  if (task.kind == RowTask::Kind::kVerify) sample.drafts = std::span(tokens_).subspan(task.row + 1, task.draws - 1);
  if (masks != nullptr) {
    sample.allowed = {.words = masks->words,
                      .offsets = std::span(masks->offsets).subspan(mask_index_[index], NumMasks(task)),
                      .words_per_mask = masks->words_per_mask};
  }
  if (const TokenOutput& first = result_.tokens[result.first_token]; first.num_candidates > 0) {
    sample.top = std::span(alternatives_).subspan(first.first_candidate, result.num_tokens * first.num_candidates);
  }
  return sample;
}

void ModelRunnerImpl::TakeOutcomes(size_t index, const SampleTask& sampled) {
  const RowTask& task = tasks_[index];
  TaskResult& result = result_.tasks[index];
  result.num_tokens = sampled.num_outcomes;
  if (sampled.num_outcomes == 0) result.status = TaskResult::Status::kNan;
  for (uint32_t i = 0; i < sampled.num_outcomes; ++i) {
    const SampleOutcome& outcome = sampled.outcomes[i];
    TokenOutput& output = result_.tokens[result.first_token + i];
    output.token = outcome.token;
    output.logprob = outcome.logprob;
    output.rank = outcome.rank;
    for (uint32_t c = output.first_candidate; c < output.first_candidate + output.num_candidates; ++c) {
      result_.candidates[c] = {alternatives_[c].token, alternatives_[c].logprob};
    }
    // Drafts that are accepted are history.
    const bool accepted = i < sampled.drafts.size() && sampled.drafts[i] == outcome.token;
    if (accepted) seats_.ExtendHistory(task.seat, task.position + i, {&outcome.token, 1});
  }
}

}  // namespace

std::vector<KvGroup> KvGroupsOf(const KvLayout& layout) {
  std::vector<KvGroup> groups;
  for (const KvLayerGroup& group : layout.groups) groups.push_back({.window = static_cast<uint32_t>(group.window)});
  return groups;
}

size_t RunnerScratchBytes(const ModelConfig& config, const Backend& backend, const ModelRunnerOptions& options) {
  return ArenaBytes(config, options) + backend.BatchBytes(DecoderBatchLimits(config, options.max_num_batched_tokens));
}

Result<std::unique_ptr<ModelRunner>> ModelRunner::Create(Backend& backend, const Model& model,
                                                         const ModelRunnerOptions& options, BlockStores stores) {
  QUIRE_RETURN_IF_ERROR(CheckOptions(options));
  KvShape shape = model.kv_shape();
  shape.num_blocks = options.num_blocks;
  shape.block_size = options.block_size;
  shape.dtype = options.kv_dtype;
  if (stores.swap != nullptr && stores.swap->place_bytes() != shape.BytesPerBlock()) {
    return InvalidArgument("a place of swap space has {} bytes, a block {}", stores.swap->place_bytes(),
                           shape.BytesPerBlock());
  }
  QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<KvCache> cache, backend.AllocateKvCache(shape));
  QUIRE_ASSIGN_OR_RETURN(Buffer arena, backend.Allocate(ArenaBytes(model.config(), options)));
  QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<Batch> batch,
                         backend.NewBatch(model.batch_limits(options.max_num_batched_tokens)));
  auto runner = std::make_unique<ModelRunnerImpl>(backend, model, options, std::move(stores), std::move(cache),
                                                  std::move(arena), std::move(batch));
  if (options.populates_kv) QUIRE_RETURN_IF_ERROR(runner->PopulateKv());
  return std::unique_ptr<ModelRunner>(std::move(runner));
}

}  // namespace quire
