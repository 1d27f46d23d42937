#include "runner/model_drafter.h"

#include <algorithm>

#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "runner/wanted_logits.h"

namespace quire {
namespace {

int64_t LogitRows(const ModelDrafterOptions& options) { return std::min<int64_t>(kMaxLogitRows, options.max_num_seqs); }

size_t ArenaBytes(const ModelConfig& config, const ModelDrafterOptions& options) {
  return PassArenaBytes(config, options.max_num_batched_tokens, LogitRows(options));
}

}  // namespace

size_t ModelDrafterScratchBytes(const ModelConfig& config, const Backend& backend, const ModelDrafterOptions& options) {
  return ArenaBytes(config, options) + backend.BatchBytes(DecoderBatchLimits(config, options.max_num_batched_tokens));
}

Result<std::unique_ptr<ModelDrafter>> ModelDrafter::Create(Backend& backend, std::shared_ptr<const Model> model,
                                                           const ModelDrafterOptions& options) {
  KvShape shape = model->kv_shape();
  shape.num_blocks = options.num_blocks * static_cast<int32_t>(model->kv_layout().groups.size());
  shape.block_size = options.block_size;
  shape.dtype = options.kv_dtype;
  QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<KvCache> cache, backend.AllocateKvCache(shape));
  QUIRE_ASSIGN_OR_RETURN(Buffer arena, backend.Allocate(ArenaBytes(model->config(), options)));
  QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<Batch> batch,
                         backend.NewBatch(model->batch_limits(options.max_num_batched_tokens)));
  std::unique_ptr<ModelDrafter> drafter(
      new ModelDrafter(backend, std::move(model), options, std::move(cache), std::move(arena), std::move(batch)));
  if (options.populates_kv) {
    QUIRE_ASSIGN_OR_RETURN(drafter->populator_, KvPopulator::Start(backend, *drafter->cache_));
  }
  return drafter;
}

ModelDrafter::ModelDrafter(Backend& backend, std::shared_ptr<const Model> model, const ModelDrafterOptions& options,
                           std::unique_ptr<KvCache> cache, Buffer arena, std::unique_ptr<Batch> batch)
    : backend_(backend),
      model_(std::move(model)),
      options_(options),
      cache_(std::move(cache)),
      arena_(std::move(arena), Place::kDevice),
      batch_(std::move(batch)),
      num_groups_(static_cast<uint32_t>(model_->kv_layout().groups.size())),
      table_stride_(static_cast<size_t>((options.max_model_len + options.block_size - 1) / options.block_size)) {
  for (int32_t i = options.num_blocks; i-- > 0;) free_blocks_.push_back(static_cast<uint32_t>(i));
}

void ModelDrafter::Propose(std::span<DraftRequest> requests) {
  const TimeUs start = Clock::Real().NowUs();
  ++call_;
  CatchUp(requests);
  const size_t num_rows = tokens_.size(), num_sequences = active_.size();
  size_t num_passes = 0;
  for (; !tokens_.empty(); ++num_passes) DrawDrafts();
  // What a prompt costs at its first time says nothing of what a draft costs, nor do the first calls.
  constexpr uint64_t kWarmUp = 4;
  if (num_passes == 0 || num_rows > num_sequences * (options_.max_drafts + 1) || call_ <= kWarmUp) return;
  // One that was late for another reason moves it little, one that was early tells the truth.
  constexpr double kLater = 0.05, kEarlier = 0.3;
  const double us = static_cast<double>(Clock::Real().NowUs() - start) / static_cast<double>(num_passes);
  draft_us_ = draft_us_ > 0 ? draft_us_ + (us > draft_us_ ? kLater : kEarlier) * (us - draft_us_) : us;
}

// The rows of what each sequence has said since it was asked for last, as far as one pass can take them.
void ModelDrafter::CatchUp(std::span<DraftRequest> requests) {
  tokens_.clear();
  spans_.clear();
  active_.clear();
  for (DraftRequest& request : requests) {
    const size_t num_tokens = request.tokens.size();
    if (num_tokens + request.max_drafts > static_cast<size_t>(options_.max_model_len)) continue;
    if (active_.size() == static_cast<size_t>(options_.max_num_seqs)) return;
    State& state = states_[{request.request, request.stream}];
    state.last_call = call_;
    size_t num_same = std::min({state.num_known, state.computed.size(), num_tokens - 1});
    while (num_same < std::min(state.computed.size(), num_tokens - 1) &&
           state.computed[num_same] == request.tokens[num_same]) {
      ++num_same;
    }
    state.computed.resize(num_same);
    const size_t num_rows =
        std::min(num_tokens - num_same, static_cast<size_t>(options_.max_num_batched_tokens) - tokens_.size());
    if (num_rows == 0 || !Reserve(state, num_tokens + request.max_drafts)) continue;
    AddRows(state, request.tokens.subspan(num_same, num_rows));
    state.num_known = num_same + num_rows;
    if (num_same + num_rows == num_tokens) {
      active_.push_back({&request, &state, static_cast<int32_t>(tokens_.size()) - 1});
    }
  }
}

void ModelDrafter::AddRows(State& state, std::span<const int32_t> tokens) {
  spans_.push_back({.first_row = static_cast<int32_t>(tokens_.size()),
                    .num_rows = static_cast<int32_t>(tokens.size()),
                    .first_position = static_cast<int32_t>(state.computed.size()),
                    .block_table = state.tables.data(),
                    .table_stride = static_cast<int64_t>(table_stride_)});
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  state.computed.insert(state.computed.end(), tokens.begin(), tokens.end());
}

bool ModelDrafter::Reserve(State& state, size_t num_tokens) {
  const auto block_size = static_cast<size_t>(options_.block_size);
  const size_t num_blocks = (num_tokens + block_size - 1) / block_size;
  state.tables.resize(num_groups_ * table_stride_);
  for (; state.num_blocks < num_blocks; ++state.num_blocks) {
    if (free_blocks_.empty() && !ReleaseOldest()) return false;
    for (uint32_t group = 0; group < num_groups_; ++group) {
      state.tables[group * table_stride_ + state.num_blocks] = free_blocks_.back() * num_groups_ + group;
    }
    free_blocks_.pop_back();
  }
  return true;
}

void ModelDrafter::Release(State& state) {
  for (uint32_t i = state.num_blocks; i-- > 0;) free_blocks_.push_back(state.tables[i] / num_groups_);
  state.num_blocks = 0;
}

// Of those that this call has not come to.
bool ModelDrafter::ReleaseOldest() {
  const auto by_call = [](const auto& a, const auto& b) { return a.second.last_call < b.second.last_call; };
  const auto oldest = std::min_element(states_.begin(), states_.end(), by_call);
  if (oldest == states_.end() || oldest->second.last_call == call_) return false;
  Release(oldest->second);
  states_.erase(oldest);
  return true;
}

// One pass: computes the rows, draws a draft of each active sequence, and makes the drafts the rows of the next pass.
void ModelDrafter::DrawDrafts() {
  arena_.Reset();
  backend_.Prepare(*batch_, tokens_, spans_);
  const Tensor hidden = model_->Forward(*batch_, *cache_, arena_);
  const auto chunk = static_cast<size_t>(LogitRows(options_));
  for (size_t begin = 0; begin < active_.size(); begin += chunk) {
    DrawChunk(hidden, std::span(active_).subspan(begin, std::min(chunk, active_.size() - begin)));
  }
  tokens_.clear();
  spans_.clear();
  std::erase_if(active_, [](const Active& a) { return a.request->drafts.size() == a.request->max_drafts; });
  for (Active& active : active_) {
    active.row = static_cast<int32_t>(tokens_.size());
    AddRows(*active.state, std::span(active.request->drafts).last(1));
  }
}

void ModelDrafter::DrawChunk(const Tensor& hidden, std::span<const Active> active) {
  const size_t mark = arena_.mark();
  rows_.clear();
  for (const Active& one : active) rows_.push_back(one.row);
  const Tensor logits = WantedLogits(*model_, backend_, *batch_, hidden, rows_, arena_);
  draws_.clear();
  outcomes_.resize(active.size());
  for (size_t i = 0; i < active.size(); ++i) {
    const DraftRequest& request = *active[i].request;
    const auto position = static_cast<uint32_t>(request.tokens.size() + request.drafts.size());
    draws_.push_back({.row = static_cast<uint32_t>(i),
                      .params = request.params,
                      .key = {.seed = request.params->seed.value_or(0), .stream = request.stream, .position = position},
                      .outcomes = std::span(outcomes_).subspan(i, 1)});
  }
  backend_.Sample({.batch = batch_.get(), .logits = logits, .tasks = draws_});
  for (size_t i = 0; i < active.size(); ++i) {
    active[i].request->drafts.push_back(draws_[i].num_outcomes == 0 ? 0 : outcomes_[i].token);
  }
  arena_.Release(mark);
}

void ModelDrafter::Forget(RequestId request) {
  const auto begin = states_.lower_bound({request, 0}), end = states_.upper_bound({request, 0xFFFFFFFF});
  for (auto state = begin; state != end; ++state) Release(state->second);
  states_.erase(begin, end);
}

}  // namespace quire
