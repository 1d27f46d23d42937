// Rotary tables: cosine and sine of every (position, frequency), worked out once in double precision. With the scalings
// that stretch a checkpoint's positions: linear, dynamic NTK, Llama 3, YaRN (arXiv:2309.00071).
// Const after Make; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "model/model_config.h"
#include "quire/result.h"
#include "tensor/buffer.h"

namespace quire {

// Angle per position of each pair of dimensions, and what cosine and sine are multiplied by (YaRN's attention factor).
struct RopeFrequencies {
  std::vector<double> radians;  // [head_dim / 2]
  double scale = 1;
};

// `length`: the longest sequence that will be seen. It matters to a dynamic scaling only: up to the original length
// that is an ordinary rope. Beyond it, the base is stretched once, for `length`: it is Transformers' base of a sequence
// of that length, and every shorter one has it, too. Transformers stretches anew as a sequence grows, but keys that
// were rotated by one base stay in the cache, and are shared between sequences of different lengths.
RopeFrequencies ComputeRopeFrequencies(const ModelConfig& config, int32_t length);

class RopeTables {
 public:
  // For positions [0, num_positions).
  static Result<RopeTables> Make(const ModelConfig& config, int32_t num_positions, Backend& backend);
  static size_t Bytes(const ModelConfig& config, int32_t num_positions);

  RopeTable view() const { return view_; }
  int32_t num_positions() const { return num_positions_; }

 private:
  Buffer buffer_;
  RopeTable view_;
  int32_t num_positions_ = 0;
};

}  // namespace quire
