// WeightDecoder: reads a weight that lies in several tensors, such as codes, scales and zero points. What it keeps in
// memory for that goes with it. Any thread, several at once.
#pragma once

#include <cstdint>

#include "quire/result.h"

namespace quire {

class WeightDecoder {
 public:
  WeightDecoder() = default;
  virtual ~WeightDecoder() = default;
  WeightDecoder(const WeightDecoder&) = delete;
  WeightDecoder& operator=(const WeightDecoder&) = delete;

  // Elements [first, first + count) of the weight, row by row.
  // REQUIRES: they are within it.
  virtual Status Read(int64_t first, int64_t count, float* to) const = 0;
};

}  // namespace quire
