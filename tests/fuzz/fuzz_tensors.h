// For fuzz targets: reads every tensor of a source, as packing weights does.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "weights/tensor_source.h"

namespace quire::testing {

// What is accepted lies in the file: reading it is no error, and takes memory in proportion.
inline void ReadEveryTensor(const TensorSource& source) {
  constexpr int64_t kElementsAtOnce = 3 * 256;
  std::vector<float> floats(kElementsAtOnce);
  std::vector<Bf16> rounded(kElementsAtOnce);
  for (const std::string& name : source.names()) {
    const Result<StoredTensor> tensor = source.Find(name, source.ShapeOf(name));
    if (!tensor.ok()) continue;
    for (int64_t first = 0; first < tensor->size(); first += kElementsAtOnce) {
      const int64_t count = std::min(kElementsAtOnce, tensor->size() - first);
      const Status read = ReadFloats(*tensor, first, std::span(floats).first(static_cast<size_t>(count)));
      QUIRE_CHECK(read.ok(), "{}", read.error().message);
      QUIRE_CHECK(tensor->dtype() == DType::kF16 || ReadAs(*tensor, first, count, DType::kBf16, rounded.data()).ok());
    }
  }
}

}  // namespace quire::testing
