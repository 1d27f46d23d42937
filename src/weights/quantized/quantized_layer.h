// QuantizedLayer: the tensors of one layer, and what each format makes of them. Only headers are read, and what is as
// small; every shape and type is checked, so that nothing else can go wrong later than that the file shrinks. Errors
// name the tensor, what it holds, and what to do. Pure; any thread.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quire/result.h"
#include "weights/quantized/quantization_config.h"
#include "weights/quantized/quantized_weight.h"
#include "weights/quantized/stored_part.h"

namespace quire {

struct QuantizedLayer {
  const StoredParts& parts;
  std::string name;  // "model.layers.0.mlp.up_proj"
  const QuantizationConfig& config;

  // The tensor of that name behind the layer's: ".scales"; nullptr if there is none.
  const StoredPart* Find(std::string_view suffix) const;
  // `codes`: of the message, if it is missing.
  Result<const StoredPart*> Need(std::string_view suffix, const StoredPart& codes) const;
};

// Weights of each kind. REQUIRES: the tensor of codes that the kind is recognised by is there.
Result<QuantizedWeight> DescribeFp8(const QuantizedLayer& layer);               // .weight, of F8_E4M3 or F8_E5M2
Result<QuantizedWeight> DescribeCompressedInt8(const QuantizedLayer& layer);    // .weight, of I8
Result<QuantizedWeight> DescribeCompressedPacked(const QuantizedLayer& layer);  // .weight_packed, of words
Result<QuantizedWeight> DescribeCompressedFp4(const QuantizedLayer& layer);     // .weight_packed, of bytes
Result<QuantizedWeight> DescribeGptq(const QuantizedLayer& layer);              // .qweight
Result<QuantizedWeight> DescribeAwq(const QuantizedLayer& layer);               // .qweight
Result<QuantizedWeight> DescribeBnb4Bit(const QuantizedLayer& layer);           // .weight, of U8
Result<QuantizedWeight> DescribeBnb8Bit(const QuantizedLayer& layer);           // .weight, of I8, and .SCB
Result<QuantizedWeight> DescribeMxfp4(const QuantizedLayer& layer);             // _blocks, without a dot

// [rows, columns], neither 0.
Status ExpectMatrix(const StoredPart& part);
Status ExpectType(const StoredPart& part, std::string_view dtype);
// `why`: what asks for that shape.
Status ExpectShape(const StoredPart& part, std::initializer_list<int64_t> shape, std::string_view why);

// How the scales of a weight lie: ScaleGrid without its numbers.
struct GridLayout {
  std::string name;  // "tensor", "channel", "g128", "block128"
  int64_t num_groups = 1;
  ScaleGrid grid;
};

// By the shape of the scales, each row's groups side by side: one, one for each row, one for each group, one for each
// block. `group_size`: 0 if none is stated; `block_*` likewise.
struct ScaleShape {
  int64_t rows = 0, columns = 0;
  int64_t group_size = 0;
  int64_t block_rows = 0, block_columns = 0;
};
Result<GridLayout> LayOutScales(const StoredPart& scales, const ScaleShape& shape);

// Numbers of [0, num_groups), one for each column.
Result<std::vector<int32_t>> ReadGroupIndex(const StoredPart& part, int64_t num_groups);

// Fills in the bytes of all parts and checks that rows and columns are such as a weight may have.
Result<QuantizedWeight> Finish(QuantizedWeight weight, const StoredPart& codes,
                               std::initializer_list<const StoredPart*> parts);

constexpr int64_t CeilDiv(int64_t value, int64_t divisor) { return value / divisor + (value % divisor != 0 ? 1 : 0); }

}  // namespace quire
