// ModelRunner: executes StepPlans on a Model. Mirrors each running sequence's block table, token counts and sampling
// parameters in dense seats; a step is forward -> wanted rows -> head -> sampler. Runs on the caller's thread, which
// lends its time in Submit (or Sample, for plans with masks); sampling spreads over the backend's threads. After
// warm-up, a step that admits nothing allocates nothing on the heap.
//
// Plans come from a scheduler in the same process or from a checked trace: one that names what does not exist is a
// defect and stops the process.
//
// Conventions: a sample task with several draws draws for the streams from its own on. A verify task draws what as many
// plain steps would, and ends early before a NaN. A best task gives no candidates, and log-probabilities and ranks of
// the raw distribution, in which tokens that are masked count; none at all left is reported as a NaN.
//
// Transfers (BlockTransfers): swapping is carried out in Submit, on the backend's threads; disk transfers by threads of
// their own, and allocate. Without a store for them they are reported failed by the same step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "kv/kv_group.h"
#include "model/model.h"
#include "quire/result.h"
#include "runner/block_transfers.h"
#include "sched/step_runner.h"

namespace quire {

struct ModelRunnerOptions {
  int32_t max_num_seqs = 256;             // seats
  int32_t max_num_batched_tokens = 2048;  // rows of a step
  int32_t max_model_len = 0;
  int32_t num_blocks = 0;
  int32_t block_size = 16;
  DType kv_dtype = DType::kBf16;
  bool populates_kv = false;  // takes the KV cache's memory at once, in the background
};

// What of a model's layout concerns scheduling.
std::vector<KvGroup> KvGroupsOf(const KvLayout& layout);

// Scratch of the runner (arena, backend scratch, sampling on the backend's threads): part of the memory plan, before
// the KV cache is sized and even before weights are read.
size_t RunnerScratchBytes(const ModelConfig& config, const Backend& backend, const ModelRunnerOptions& options);

class ModelRunner : public StepRunner {
 public:
  // Allocates the KV cache and the scratch. backend and model outlive the runner.
  static Result<std::unique_ptr<ModelRunner>> Create(Backend& backend, const Model& model,
                                                     const ModelRunnerOptions& options, BlockStores stores = {});

  virtual const KvShape& kv_shape() const = 0;
};

}  // namespace quire
