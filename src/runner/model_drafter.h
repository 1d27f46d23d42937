// ModelDrafter: drafts by a small model with the vocabulary of the one that is served. It keeps keys and values of its
// own for every sequence, computes what has come since it was asked last, and then draws draft after draft, all
// sequences side by side, with the parameters and the random keys of the draws that will verify them: so even at high
// temperatures two models that mostly agree mostly draw the same. On the caller's thread and the backend's.
//
// Its memory is a cache: when it is full, sequences that were not asked for lately are forgotten, and computed again if
// they come back; one that finds no room, or is longer than the model's context, gets no drafts.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "model/model.h"
#include "quire/result.h"
#include "runner/kv_populator.h"
#include "sampling/sample_task.h"
#include "sched/drafter.h"
#include "tensor/buffer.h"

namespace quire {

struct ModelDrafterOptions {
  int32_t max_num_seqs = 256;             // drafted for at once
  int32_t max_num_batched_tokens = 2048;  // rows of one pass; at least max_num_seqs
  int32_t max_model_len = 0;              // of the model that drafts
  uint32_t max_drafts = kMaxDrafts;       // of a sequence in a call
  int32_t num_blocks = 0;                 // of positions
  int32_t block_size = 16;
  DType kv_dtype = DType::kBf16;
  bool populates_kv = false;  // as ModelRunnerOptions
};

// Scratch of a drafter: part of the memory plan.
size_t ModelDrafterScratchBytes(const ModelConfig& config, const Backend& backend, const ModelDrafterOptions& options);

class ModelDrafter final : public Drafter {
 public:
  // The backend outlives the drafter. It may serve a runner as well, on the same thread.
  static Result<std::unique_ptr<ModelDrafter>> Create(Backend& backend, std::shared_ptr<const Model> model,
                                                      const ModelDrafterOptions& options);

  void Propose(std::span<DraftRequest> requests) override;
  void Forget(RequestId request) override;
  double DraftUs() const override { return draft_us_; }

  int32_t num_free_blocks() const { return static_cast<int32_t>(free_blocks_.size()); }

 private:
  struct State {
    std::vector<int32_t> computed;  // tokens whose keys and values are in the cache, drafts included
    size_t num_known = 0;           // of these, that an earlier call gave: they stay
    uint32_t num_blocks = 0;        // of positions: each is one block in every KV group
    std::vector<uint32_t> tables;   // [groups, table_stride_]
    uint64_t last_call = 0;
  };
  using Key = std::pair<RequestId, uint32_t>;
  // A sequence whose next draft this pass draws.
  struct Active {
    DraftRequest* request = nullptr;
    State* state = nullptr;
    int32_t row = 0;
  };

  ModelDrafter(Backend& backend, std::shared_ptr<const Model> model, const ModelDrafterOptions& options,
               std::unique_ptr<KvCache> cache, Buffer arena, std::unique_ptr<Batch> batch);

  void CatchUp(std::span<DraftRequest> requests);
  bool Reserve(State& state, size_t num_tokens);
  void Release(State& state);
  bool ReleaseOldest();
  void AddRows(State& state, std::span<const int32_t> tokens);
  void DrawDrafts();
  void DrawChunk(const Tensor& hidden, std::span<const Active> active);

  Backend& backend_;
  const std::shared_ptr<const Model> model_;
  const ModelDrafterOptions options_;
  const std::unique_ptr<KvCache> cache_;
  std::optional<KvPopulator> populator_;
  Arena arena_;
  const std::unique_ptr<Batch> batch_;
  const uint32_t num_groups_;
  const size_t table_stride_;
  std::map<Key, State> states_;
  std::vector<uint32_t> free_blocks_;  // of positions: n stands for blocks n * num_groups_ and the groups after it
  uint64_t call_ = 0;
  double draft_us_ = 0;

  // Of one pass.
  std::vector<int32_t> tokens_;
  std::vector<BatchSpan> spans_;
  std::vector<Active> active_;
  std::vector<int32_t> rows_;
  std::vector<SampleTask> draws_;
  std::vector<SampleOutcome> outcomes_;
};

}  // namespace quire
