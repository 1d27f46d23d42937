// The types that tensors of a GGUF file have, by their numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "tensor/weight_format.h"

namespace quire {

struct GgufTensorType {
  uint32_t number = 0;
  std::string_view name;  // "Q4_K"
  int32_t block_size = 1;
  int32_t block_bytes = 0;         // 0: no longer a type, of a size that nobody states any more
  std::optional<WeightKind> kind;  // none: not weights that can be read as floats
};

// REQUIRES: one of the kinds that FormatOf knows.
uint32_t GgufNumberOf(WeightKind kind);

// nullptr: none that is known.
const GgufTensorType* FindGgufTensorType(uint32_t number);

}  // namespace quire
