// Weights in 8-bit floats, with a scale of all, of each row, of groups of columns, or of blocks; or none. DeepSeek's
// and Qwen3's checkpoints call it weight_scale_inv, compressed-tensors, FBGEMM and ModelOpt weight_scale; it
// multiplies.
//
// value * scale in float32, as Transformers computes it; it rounds that to the model's type, which packing does if
// products are in bfloat16.
#include <memory>
#include <utility>

#include "base/error.h"
#include "weights/quantized/quantized_layer.h"

namespace quire {
namespace {

constexpr int64_t kUsualBlock = 128;

// The block size that is stated for this weight: in the config of fp8, or by a group of compressed-tensors.
ScaleShape StatedShape(const QuantizedLayer& layer, const StoredPart& codes, const StoredPart& scales) {
  const QuantizationConfig& config = layer.config;
  ScaleShape shape = {.rows = codes.shape[0],
                      .columns = codes.shape[1],
                      .block_rows = config.block_rows,
                      .block_columns = config.block_columns};
  for (const CompressedScheme& scheme : config.schemes) {
    if (!scheme.is_float || scheme.bits != 8) continue;
    if (shape.block_rows == 0) shape.block_rows = scheme.block_rows, shape.block_columns = scheme.block_columns;
    const bool has_groups = scheme.group_size > 0 && scales.shape.size() == 2 &&
                            CeilDiv(shape.columns, scheme.group_size) == scales.shape[1];
    if (has_groups) shape.group_size = scheme.group_size;
  }
  if (shape.block_rows == 0) shape.block_rows = shape.block_columns = kUsualBlock;
  return shape;
}

}  // namespace

Result<QuantizedWeight> DescribeFp8(const QuantizedLayer& layer) {
  const StoredPart& codes = *layer.Find(".weight");
  QUIRE_RETURN_IF_ERROR(ExpectMatrix(codes));
  const StoredPart* scales = layer.Find(".weight_scale_inv");
  if (scales == nullptr) scales = layer.Find(".weight_scale");
  const bool is_e4m3 = codes.dtype == "F8_E4M3";
  QuantizedWeight weight = {.rows = codes.shape[0],
                            .columns = codes.shape[1],
                            .kind = is_e4m3 ? WeightKind::kFp8E4M3 : WeightKind::kFp8E5M2,
                            .format_name = is_e4m3 ? "fp8-e4m3" : "fp8-e5m2"};
  GridLayout layout = {.grid = {.scales = {1.0F}, .rows_per_scale = weight.rows, .columns_per_scale = weight.columns}};
  if (scales != nullptr) {
    QUIRE_ASSIGN_OR_RETURN(layout, LayOutScales(*scales, StatedShape(layer, codes, *scales)));
    weight.format_name += "-" + layout.name;
  }
  weight.group = layout.grid.columns_per_scale;
  const auto open = [codes, scales = scales == nullptr ? StoredPart() : *scales, grid = layout.grid,
                     is_e4m3]() -> Result<OpenedWeight> {
    OpenedWeight opened;
    opened.codes = MakeRowCodes({.part = codes, .row_bits = codes.shape[1] * 8});
    opened.values = is_e4m3 ? Fp8E4M3Values() : Fp8E5M2Values();
    opened.scales = grid;
    if (scales.file != nullptr) {
      QUIRE_ASSIGN_OR_RETURN(opened.scales.scales, ReadFloats(scales));
    }
    return opened;
  };
  weight.open = open;
  return Finish(std::move(weight), codes, {scales});
}

}  // namespace quire
