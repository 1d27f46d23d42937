// Weights in 4-bit floats, bytes of two, the low one first. (OCP Microscaling Formats 1.0)
//  - gpt-oss: NAME_blocks [rows, groups, 16] and NAME_scales [rows, groups], exponents of two, for groups of 32;
//  - compressed-tensors: .weight_packed [rows, columns / 2] and .weight_scale, the same exponents ("mxfp4"), or e4m3
//  for
//    groups of 16, to be divided by .weight_global_scale ("nvfp4").
//
// value * 2^(exponent - 127), which float32 holds exactly; value * (scale / global) in float32. The packages round that
// to bfloat16.
#include <algorithm>
#include <memory>
#include <utility>

#include "base/error.h"
#include "weights/quantized/quantized_layer.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

constexpr int64_t kGroup = 32;
constexpr int64_t kNvfp4Group = 16;

// What is common to all: `weight` without how it is opened. `global`: nullptr where there is none.
Result<QuantizedWeight> DescribeFp4(QuantizedWeight weight, const StoredPart& codes, const StoredPart& scales,
                                    const StoredPart* global) {
  weight.kind = WeightKind::kFp4;
  weight.open = [codes, scales, divisor = global == nullptr ? StoredPart() : *global, columns = weight.columns,
                 group = weight.group]() -> Result<OpenedWeight> {
    OpenedWeight opened;
    opened.codes = MakeRowCodes({.part = codes, .bits = 4, .row_bits = columns * 4});
    opened.values = Fp4Values();
    opened.scales = {.columns_per_scale = group, .row_stride = columns / group};
    QUIRE_ASSIGN_OR_RETURN(opened.scales.scales, ReadFloats(scales));
    if (divisor.file != nullptr) {
      QUIRE_ASSIGN_OR_RETURN(const std::vector<float> by, ReadFloats(divisor));
      for (float& scale : opened.scales.scales) scale /= by[0];
    }
    return opened;
  };
  return Finish(std::move(weight), codes, {&scales, global});
}

}  // namespace

Result<QuantizedWeight> DescribeMxfp4(const QuantizedLayer& layer) {
  const StoredPart& codes = *layer.Find("_blocks");
  QUIRE_ASSIGN_OR_RETURN(const StoredPart* scales, layer.Need("_scales", codes));
  QUIRE_RETURN_IF_ERROR(ExpectType(codes, "U8"));
  QUIRE_RETURN_IF_ERROR(ExpectType(*scales, "U8"));
  const bool is_blocks = codes.shape.size() == 3 && codes.shape[2] == kGroup / 2 && codes.size() > 0;
  if (!is_blocks) {
    return InvalidArgument("{} has shape {}: must be rows of groups of {} bytes", codes.Where(), ShapeText(codes.shape),
                           kGroup / 2);
  }
  const int64_t num_groups = codes.shape[1];
  QUIRE_RETURN_IF_ERROR(ExpectShape(*scales, {codes.shape[0], num_groups}, "one exponent for each group"));
  const QuantizedWeight weight = {
      .rows = codes.shape[0], .columns = num_groups * kGroup, .format_name = "mxfp4", .group = kGroup};
  return DescribeFp4(weight, codes, *scales, nullptr);
}

Result<QuantizedWeight> DescribeCompressedFp4(const QuantizedLayer& layer) {
  const StoredPart& codes = *layer.Find(".weight_packed");
  QUIRE_RETURN_IF_ERROR(ExpectMatrix(codes));
  QUIRE_RETURN_IF_ERROR(ExpectType(codes, "U8"));
  QUIRE_ASSIGN_OR_RETURN(const StoredPart* scales, layer.Need(".weight_scale", codes));
  const bool is_nvfp4 = scales->dtype == "F8_E4M3";
  if (!is_nvfp4 && scales->dtype != "F8_E8M0") QUIRE_RETURN_IF_ERROR(ExpectType(*scales, "U8"));
  const int64_t group = is_nvfp4 ? kNvfp4Group : kGroup;
  const int64_t rows = codes.shape[0], columns = codes.shape[1] * 2;
  if (columns % group != 0) {
    return InvalidArgument("{} has shape {}: its {} columns are no groups of {}", codes.Where(), ShapeText(codes.shape),
                           columns, group);
  }
  QUIRE_RETURN_IF_ERROR(ExpectShape(*scales, {rows, columns / group}, fmt::format("one scale for {} columns", group)));
  const StoredPart* global = nullptr;
  if (is_nvfp4) {
    QUIRE_ASSIGN_OR_RETURN(global, layer.Need(".weight_global_scale", codes));
    QUIRE_RETURN_IF_ERROR(ExpectType(*global, "F32"));
    if (global->size() != 1) {
      return InvalidArgument("{} has shape {}: must be one number", global->Where(), ShapeText(global->shape));
    }
  }
  const QuantizedWeight weight = {
      .rows = rows, .columns = columns, .format_name = is_nvfp4 ? "nvfp4" : "mxfp4", .group = group};
  return DescribeFp4(weight, codes, *scales, global);
}

}  // namespace quire
