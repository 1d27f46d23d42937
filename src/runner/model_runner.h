// ModelRunner: executes StepPlans on a Model. Mirrors each running sequence's block table, history and sampling
// parameters in dense slots; a step is forward -> wanted rows -> head -> sampler. Runs on the caller's thread; after
// construction and warm-up, a steady-state step allocates nothing on the heap.
#pragma once

#include <cstdint>
#include <memory>

#include "backend/backend.h"
#include "model/model.h"
#include "quire/result.h"
#include "sched/step_runner.h"

namespace quire {

struct ModelRunnerOptions {
  int32_t max_num_seqs = 256;             // slots
  int32_t max_num_batched_tokens = 2048;  // rows of a step
  int32_t max_model_len = 0;
  int32_t num_blocks = 0;
  int32_t block_size = 16;
  DType kv_dtype = DType::kBf16;
};

// Scratch of the runner (arena, backend scratch, logits): part of the memory plan, before the KV cache is sized.
size_t RunnerScratchBytes(const Model& model, const ModelRunnerOptions& options);

class ModelRunner : public StepRunner {
 public:
  // Allocates the KV cache and the scratch. backend and model outlive the runner.
  static Result<std::unique_ptr<ModelRunner>> Create(Backend& backend, const Model& model,
                                                     const ModelRunnerOptions& options);
};

}  // namespace quire
