#include "runner/model_runner.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "runner/seat_table.h"
#include "runner/wanted_logits.h"
#include "sampling/sampler.h"
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

class ModelRunnerImpl final : public ModelRunner {
 public:
  ModelRunnerImpl(Backend& backend, const Model& model, const ModelRunnerOptions& options, BlockStores stores,
                  std::unique_ptr<KvCache> cache, Buffer arena, std::unique_ptr<Batch> batch);

  Status Submit(const StepPlan& plan) override;
  Status Sample(std::span<const std::span<const uint32_t>> masks) override;
  Status Collect(StepResult& result) override;
  const KvShape& kv_shape() const override { return cache_->shape(); }

 private:
  enum class State : uint8_t { kIdle, kAwaitsMasks, kDone };
  using Masks = std::span<const std::span<const uint32_t>>;

  void CopyBlocks(const StepPlan& plan);
  void BuildBatch(const StepPlan& plan);
  void ExtendHistories(const StepPlan& plan);
  void CheckTasks(const StepPlan& plan) const;
  void LayOutResult();
  void RunTasks(Masks masks);
  size_t FormLogitChunk(size_t begin);
  void RunChunk(size_t begin, size_t end, Masks masks);
  void RunTask(size_t index, const Tensor& logits, Masks masks, SamplerScratch& scratch);
  void RunVerifyTask(size_t index, const Tensor& logits, Masks masks, SamplerScratch& scratch);
  bool RunDraw(const RowTask& task, std::span<const float> row, std::span<const uint32_t> mask, SamplerScratch& scratch,
               TokenOutput& output);
  SampleOutcome Draw(const RowTask& task, std::span<const float> row, std::span<const uint32_t> mask,
                     std::span<SampledCandidate> top, SamplerScratch& scratch) const;
  std::span<const float> LogitsOf(size_t index, uint32_t row, const Tensor& logits) const;
  void RunBestTask(const RowTask& task, std::span<const float> row, SamplerScratch& scratch, TaskResult& task_result);
  size_t NumTokens(const RowTask& task) const;
  size_t NumCandidates(const RowTask& task) const;

  Backend& backend_;
  const Model& model_;
  const size_t max_rows_;
  const size_t max_logit_rows_;
  const int32_t vocab_size_;
  std::unique_ptr<KvCache> cache_;
  BlockTransfers transfers_;  // goes before the cache that its threads touch
  Arena arena_;
  std::unique_ptr<Batch> batch_;
  SeatTable seats_;
  std::vector<SamplerScratch> scratch_;  // one per thread of the backend

  State state_ = State::kIdle;
  bool await_transfers_ = false;
  StepResult result_;

  // The step at work.
  std::vector<int32_t> tokens_;  // [rows]
  std::vector<BatchSpan> spans_;
  std::vector<std::pair<uint32_t, uint32_t>> copies_;
  std::vector<RowTask> tasks_;
  std::vector<uint32_t> mask_index_;  // per task: which of the masks is its first
  std::vector<int32_t> chunk_rows_;   // rows whose logits are made together
  std::vector<uint32_t> chunk_row_;   // per task: its place in chunk_rows_
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
              .vocab_size = vocab_size_}),
      scratch_(static_cast<size_t>(backend.num_threads()), SamplerScratch(vocab_size_)) {
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
  if (!plan.masks_follow) RunTasks({});
  return {};
}

Status ModelRunnerImpl::Sample(Masks masks) {
  QUIRE_CHECK(state_ == State::kAwaitsMasks, "no step waits for masks");
  size_t num_masks = 0;
  for (const RowTask& task : tasks_) {
    if (task.kind == RowTask::Kind::kSample) ++num_masks;
    if (task.kind == RowTask::Kind::kVerify) num_masks += task.draws;
  }
  QUIRE_CHECK_EQ(masks.size(), num_masks);
  RunTasks(masks);
  return {};
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

// Every task's tokens and candidates get their places first, so that threads can fill them in any order.
void ModelRunnerImpl::LayOutResult() {
  result_.tasks.resize(tasks_.size());
  mask_index_.resize(tasks_.size());
  uint32_t num_masks = 0;
  for (size_t i = 0; i < tasks_.size(); ++i) {
    const RowTask& task = tasks_[i];
    mask_index_[i] = num_masks;
    result_.tasks[i].first_token = static_cast<uint32_t>(result_.tokens.size());
    if (task.kind == RowTask::Kind::kSample) ++num_masks;
    if (task.kind == RowTask::Kind::kVerify) num_masks += task.draws;
    const size_t num_tokens = NumTokens(task), num_candidates = NumCandidates(task);
    for (size_t draw = 0; draw < num_tokens; ++draw) {
      result_.tokens.push_back({.first_candidate = static_cast<uint32_t>(result_.candidates.size()),
                                .num_candidates = static_cast<uint32_t>(num_candidates)});
      result_.candidates.resize(result_.candidates.size() + num_candidates);
    }
    result_.tasks[i].num_tokens = static_cast<uint32_t>(num_tokens);
  }
}

void ModelRunnerImpl::RunTasks(Masks masks) {
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

void ModelRunnerImpl::RunChunk(size_t begin, size_t end, Masks masks) {
  const size_t mark = arena_.mark();
  const Tensor computed = WantedLogits(model_, backend_, *batch_, hidden_, chunk_rows_, arena_);
  backend_.WithHostRows(computed, [&](const Tensor& logits) {
    std::atomic<size_t> next = begin;
    backend_.ParallelFor(static_cast<int64_t>(scratch_.size()), [&](int64_t first, int64_t last) {
      for (int64_t worker = first; worker < last; ++worker) {
        SamplerScratch& scratch = scratch_[static_cast<size_t>(worker)];
        for (size_t i = next.fetch_add(1); i < end; i = next.fetch_add(1)) RunTask(i, logits, masks, scratch);
      }
    });
  });
  arena_.Release(mark);
}

std::span<const float> ModelRunnerImpl::LogitsOf(size_t index, uint32_t row, const Tensor& logits) const {
  const auto vocab = static_cast<size_t>(vocab_size_);
  return {logits.f32() + (chunk_row_[index] + row) * vocab, vocab};
}

void ModelRunnerImpl::RunTask(size_t index, const Tensor& logits, Masks masks, SamplerScratch& scratch) {
  RowTask task = tasks_[index];
  TaskResult& task_result = result_.tasks[index];
  const std::span<const float> row = LogitsOf(index, 0, logits);
  if (task.kind == RowTask::Kind::kBest) return RunBestTask(task, row, scratch, task_result);
  if (task.kind == RowTask::Kind::kVerify) return RunVerifyTask(index, logits, masks, scratch);
  const std::span<const uint32_t> mask = masks.empty() ? std::span<const uint32_t>() : masks[mask_index_[index]];
  for (uint32_t draw = 0; draw < task_result.num_tokens; ++draw, ++task.stream) {
    if (RunDraw(task, row, mask, scratch, result_.tokens[task_result.first_token + draw])) continue;
    task_result.status = TaskResult::Status::kNan;
    task_result.num_tokens = 0;
  }
}

// Each draft that is what was drawn becomes history, so that the next draw sees it as it would without drafts.
void ModelRunnerImpl::RunVerifyTask(size_t index, const Tensor& logits, Masks masks, SamplerScratch& scratch) {
  RowTask task = tasks_[index];
  TaskResult& task_result = result_.tasks[index];
  task_result.num_tokens = 0;
  for (uint32_t i = 0; i < task.draws; ++i, ++task.position) {
    TokenOutput& output = result_.tokens[task_result.first_token + i];
    const std::span<const uint32_t> mask = masks.empty() ? std::span<const uint32_t>() : masks[mask_index_[index] + i];
    if (!RunDraw(task, LogitsOf(index, i, logits), mask, scratch, output)) {
      // Behind an accepted draft: the next step comes to it again, and says at which position.
      if (i == 0) task_result.status = TaskResult::Status::kNan;
      return;
    }
    ++task_result.num_tokens;
    if (i + 1 == task.draws || tokens_[task.row + i + 1] != output.token) return;
    seats_.ExtendHistory(task.seat, task.position, {&output.token, 1});
  }
}

// False: nothing can be drawn.
bool ModelRunnerImpl::RunDraw(const RowTask& task, std::span<const float> row, std::span<const uint32_t> mask,
                              SamplerScratch& scratch, TokenOutput& output) {
  std::array<SampledCandidate, kMaxLogprobs> top;
  const std::span<SampledCandidate> alternatives = std::span(top).first(output.num_candidates);
  const SampleOutcome outcome = Draw(task, row, mask, alternatives, scratch);
  if (outcome.is_nan) return false;
  output.token = outcome.token;
  output.logprob = outcome.logprob;
  output.rank = outcome.rank;
  for (size_t i = 0; i < alternatives.size(); ++i) {
    result_.candidates[output.first_candidate + i] = {alternatives[i].token, alternatives[i].logprob};
  }
  return true;
}

void ModelRunnerImpl::RunBestTask(const RowTask& task, std::span<const float> row, SamplerScratch& scratch,
                                  TaskResult& task_result) {
  const Seat& seat = seats_.at(task.seat);
  TokenOutput* output = &result_.tokens[task_result.first_token];
  const auto take = [&output](const SampleOutcome& outcome) {
    output->token = outcome.token;
    output->logprob = outcome.logprob;
    output->rank = outcome.rank;
    ++output;
  };
  const size_t count = BestTokens(row, seats_.MaskedTokens(seat, task.position), task_result.num_tokens, scratch, take);
  task_result.num_tokens = static_cast<uint32_t>(count);
  if (count == 0) task_result.status = TaskResult::Status::kNan;
}

SampleOutcome ModelRunnerImpl::Draw(const RowTask& task, std::span<const float> row, std::span<const uint32_t> mask,
                                    std::span<SampledCandidate> top, SamplerScratch& scratch) const {
  if (task.kind == RowTask::Kind::kScore) return ScoreToken(row, task.target, scratch, top);
  const Seat& seat = seats_.at(task.seat);
  const SampleRequest request = {
      .params = &seat.params,
      .counts = seat.uses_penalties ? &seat.counts : nullptr,
      .masked_tokens = seats_.MaskedTokens(seat, task.position),
      .allowed_mask = mask,
      .key = {.seed = seat.params.seed.value_or(0), .stream = task.stream, .position = task.position}};
  return SampleToken(row, request, scratch, top);
}

}  // namespace

std::vector<KvGroup> KvGroupsOf(const KvLayout& layout) {
  std::vector<KvGroup> groups;
  for (const KvLayerGroup& group : layout.groups) groups.push_back({.window = static_cast<uint32_t>(group.window)});
  return groups;
}

size_t RunnerScratchBytes(const ModelConfig& config, const Backend& backend, const ModelRunnerOptions& options) {
  return ArenaBytes(config, options) + backend.BatchBytes(DecoderBatchLimits(config, options.max_num_batched_tokens)) +
         static_cast<size_t>(backend.num_threads()) * SamplerScratch::Bytes(config.vocab_size);
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
  return std::unique_ptr<ModelRunner>(std::make_unique<ModelRunnerImpl>(
      backend, model, options, std::move(stores), std::move(cache), std::move(arena), std::move(batch)));
}

}  // namespace quire
