// Model: a decoder built once from an ArchSpec, a config and a checkpoint; const afterwards.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "model/kv_layout.h"
#include "model/model_config.h"
#include "quire/result.h"
#include "weights/stored_format.h"

namespace quire {

enum class ComputeDType : uint8_t { kAuto, kF32, kBf16 };  // --dtype

struct ModelOptions {
  // auto: f32 checkpoints in f32, bf16 ones and those in blocks in bf16 products, f16 ones in f32 (exact; bf16 would
  // drop three bits).
  ComputeDType dtype = ComputeDType::kAuto;
  int32_t max_model_len = 0;  // rope tables reach this far, at most LongestContext; 0: the config's max_position
};

// A model before its weights are read: what `quire info` prints, and what memory is planned from. Names are Model's.
struct ModelFootprint {
  ModelConfig config;
  DType compute_dtype = DType::kF32;
  size_t weight_bytes = 0;
  KvLayout kv_layout;
  KvShape kv_shape;
  int64_t num_parameters = 0;
  std::vector<StoredFormat> stored_formats;  // on disk, the largest part first
  std::string quantization;                  // what the files call it: "gptq", "gguf"; empty: nothing
};

class Model {
 public:
  // Reads config and weights from a Hugging Face directory or a GGUF file. Errors name the file and the tensor.
  static Result<std::unique_ptr<Model>> Load(const std::string& path, Backend& backend, const ModelOptions& options);
  virtual ~Model() = default;

  virtual const ModelConfig& config() const = 0;
  virtual DType compute_dtype() const = 0;  // of the products: kF32 or kBf16
  virtual size_t weight_bytes() const = 0;
  virtual int64_t num_parameters() const = 0;
  // Whose block tables the batch's spans have, and what is where in a block.
  virtual const KvLayout& kv_layout() const = 0;
  // The cache's shape but for num_blocks, block_size and dtype.
  virtual KvShape kv_shape() const = 0;

  // Bytes of the arena, in the backend's memory, that Forward needs at max_rows rows plus Logits at max_logit_rows.
  virtual size_t ArenaBytes(int64_t max_rows, int64_t max_logit_rows) const = 0;
  // Of a batch for steps of up to max_rows rows.
  virtual BatchLimits batch_limits(int64_t max_rows) const = 0;

  // The batch is prepared, its spans cover its tokens in order. Writes the rows' keys and values to the cache; returns
  // the hidden states after the final norm, [rows, hidden], in the arena. Allocates nothing else.
  virtual Tensor Forward(Batch& batch, KvCache& cache, Arena& arena) const = 0;
  // hidden [rows, hidden] -> [rows, vocab_size] in the arena.
  virtual Tensor Logits(Batch& batch, const Tensor& hidden, Arena& arena) const = 0;

 protected:
  Model() = default;
};

// What a model of this config needs per step, known before its weights are read: see Model::ArenaBytes and
// Model::batch_limits.
size_t DecoderArenaBytes(const ModelConfig& config, int64_t max_rows, int64_t max_logit_rows);
BatchLimits DecoderBatchLimits(const ModelConfig& config, int64_t max_rows);

// From the headers alone, as the backend would hold it; fails as Load would.
Result<ModelFootprint> MeasureModel(const std::string& path, const Backend& backend, const ModelOptions& options);

}  // namespace quire
