// QuantizedWeight: what headers say of a weight [rows, columns] that is stored as codes with scales beside them, and
// how it is opened for reading. Const; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "quire/result.h"
#include "tensor/weight_format.h"
#include "weights/quantized/code_reader.h"
#include "weights/quantized/code_values.h"
#include "weights/quantized/scale_grid.h"
#include "weights/weight_decoder.h"

namespace quire {

// What is read before its first element.
struct OpenedWeight {
  std::unique_ptr<CodeReader> codes;
  CodeValues values{};  // of the codes
  ScaleGrid scales;     // every index that the weight has is within them
};

struct QuantizedWeight {
  int64_t rows = 0;           // positive, as columns are
  int64_t columns = 0;        // of 31 bits, as the bytes of a row are
  uint64_t stored_bytes = 0;  // of all its parts
  WeightKind kind = WeightKind::kInt4;
  std::string format_name;  // "gptq-int4-g128"
  int64_t group = 0;        // columns that share a scale
  bool has_zero_points = false;
  std::optional<DType> activation;
  std::function<Result<OpenedWeight>()> open;

  // Its name is format_name, so it lives as long as this.
  WeightFormat Format() const;
};

// The element values of a weight, decoded as they are read. Parts that a range of rows cannot do without are read once,
// by the first thread that asks, and go with the decoder. `weight` outlives it.
std::shared_ptr<const WeightDecoder> OpenQuantizedWeight(const QuantizedWeight& weight);

}  // namespace quire
