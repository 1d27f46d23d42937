// Integer weights of compressed-tensors (https://github.com/vllm-project/compressed-tensors): int8 as it is
// ("int-quantized"), or codes of 2, 3, 4 or 8 bits packed into words along the rows ("pack-quantized"), signed numbers
// stored with 2^(bits - 1) added. Zero points are optional, and packed as the codes are, but along the other side.
//
// (code - zero) * scale in float32. The package computes in the type of the scales, a 16-bit float: there it rounds the
// same exact product.
#include <algorithm>
#include <memory>
#include <utility>

#include "base/error.h"
#include "weights/quantized/quantized_layer.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

WeightKind IntKind(int64_t bits) {
  return bits == 2   ? WeightKind::kInt2
         : bits == 3 ? WeightKind::kInt3
         : bits == 4 ? WeightKind::kInt4
                     : WeightKind::kInt8;
}

// The parts beside the codes.
struct CompressedParts {
  StoredPart scales;
  std::optional<StoredPart> zeros;
  std::optional<StoredPart> groups;  // of each column
};

Result<CompressedParts> FindParts(const QuantizedLayer& layer, const StoredPart& codes) {
  CompressedParts parts;
  QUIRE_ASSIGN_OR_RETURN(const StoredPart* scales, layer.Need(".weight_scale", codes));
  parts.scales = *scales;
  if (const StoredPart* zeros = layer.Find(".weight_zero_point")) parts.zeros = *zeros;
  if (const StoredPart* groups = layer.Find(".weight_g_idx")) parts.groups = *groups;
  return parts;
}

Error NoScheme(const StoredPart& codes, const QuantizedLayer& layer, std::string_view what) {
  return InvalidArgument("{} has shape {}: no group of config_groups in {} states such a weight ({})", codes.Where(),
                         ShapeText(codes.shape), layer.config.path, what);
}

// Zero points [rows, groups] from words [rows * bits / 32, groups], in the order of the scales. `rows`: that have
// scales.
Result<std::vector<float>> UnpackZeros(const StoredPart& part, int64_t rows, int bits) {
  QUIRE_ASSIGN_OR_RETURN(const std::vector<uint32_t> words, ReadWords(part));
  const int64_t num_groups = part.shape[1];
  std::vector<float> zeros;
  zeros.reserve(static_cast<size_t>(rows * num_groups));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t group = 0; group < num_groups; ++group) {
      zeros.push_back(OffsetValues(bits)[CodeOfStream(words.data() + group, num_groups, bits, row)]);
    }
  }
  return zeros;
}

Result<std::vector<float>> PlainZeros(const StoredPart& part) {
  QUIRE_ASSIGN_OR_RETURN(const std::vector<int32_t> integers, ReadIntegers(part));
  std::vector<float> zeros(integers.size());
  std::transform(integers.begin(), integers.end(), zeros.begin(),
                 [](int32_t value) { return static_cast<float>(value); });
  return zeros;
}

// Act-order, where a column says its group itself. A file that holds -1 was made without.
Result<std::vector<int32_t>> ReadColumnGroups(const StoredPart& part, int64_t num_groups) {
  QUIRE_ASSIGN_OR_RETURN(const std::vector<int32_t> stored, ReadIntegers(part));
  if (std::find(stored.begin(), stored.end(), -1) != stored.end()) return std::vector<int32_t>();
  return ReadGroupIndex(part, num_groups);
}

Result<ScaleGrid> OpenGrid(const CompressedParts& parts, const GridLayout& layout, int64_t rows, int bits) {
  ScaleGrid grid = layout.grid;
  QUIRE_ASSIGN_OR_RETURN(grid.scales, ReadFloats(parts.scales));
  if (parts.zeros) {
    const bool is_packed = parts.zeros->dtype == "I32";
    QUIRE_ASSIGN_OR_RETURN(grid.zeros, is_packed ? UnpackZeros(*parts.zeros, rows, bits) : PlainZeros(*parts.zeros));
  }
  if (parts.groups) {
    QUIRE_ASSIGN_OR_RETURN(grid.group_of_column, ReadColumnGroups(*parts.groups, layout.num_groups));
  }
  return grid;
}

// What both layouts have: `weight` has its rows, columns, kind and has_zero_points.
struct CompressedLayout {
  RowCodes codes;
  bool is_packed = false;
};
Result<QuantizedWeight> Describe(QuantizedWeight weight, const CompressedLayout& stored, const CompressedParts& parts,
                                 GridLayout layout) {
  const StoredPart& codes = stored.codes.part;
  if (parts.groups) {
    QUIRE_RETURN_IF_ERROR(ExpectShape(*parts.groups, {weight.columns}, "one group for each column"));
  }
  weight.format_name = fmt::format("ct-int{}-{}", stored.codes.bits, layout.name);
  weight.group = layout.grid.columns_per_scale;
  weight.has_zero_points = parts.zeros.has_value();
  const int64_t scale_rows = layout.grid.row_stride == 0 ? 1 : weight.rows;
  weight.open = [stored, parts, layout = std::move(layout), scale_rows]() -> Result<OpenedWeight> {
    OpenedWeight opened;
    opened.codes = MakeRowCodes(stored.codes);
    opened.values = stored.is_packed ? OffsetValues(stored.codes.bits) : SignedValues();
    QUIRE_ASSIGN_OR_RETURN(opened.scales, OpenGrid(parts, layout, scale_rows, stored.codes.bits));
    return opened;
  };
  const StoredPart* zeros = parts.zeros ? &*parts.zeros : nullptr;
  const StoredPart* groups = parts.groups ? &*parts.groups : nullptr;
  return Finish(std::move(weight), codes, {&parts.scales, zeros, groups});
}

// The group size among those that are stated which the scales have.
int64_t StatedGroup(const QuantizedLayer& layer, const StoredPart& scales, int64_t bits, int64_t columns) {
  int64_t stated = 0;
  for (const CompressedScheme& scheme : layer.config.schemes) {
    if (scheme.is_float || scheme.bits != bits || scheme.group_size == 0) continue;
    const bool fits = scales.shape.size() == 2 && CeilDiv(columns, scheme.group_size) == scales.shape[1];
    if (stated == 0 || fits) stated = scheme.group_size;
  }
  return stated;
}

// [rows, columns] of the weight that was packed.
Result<int64_t> UnpackedColumns(const QuantizedLayer& layer, const StoredPart& codes) {
  QUIRE_ASSIGN_OR_RETURN(const StoredPart* part, layer.Need(".weight_shape", codes));
  QUIRE_RETURN_IF_ERROR(ExpectShape(*part, {2}, "a matrix"));
  QUIRE_ASSIGN_OR_RETURN(const std::vector<int32_t> shape, ReadIntegers(*part));
  if (shape[0] == codes.shape[0] && shape[1] > 0) return int64_t{shape[1]};
  return DataLoss("{} holds [{}, {}]: the packed weight beside it has {} rows", part->Where(), shape[0], shape[1],
                  codes.shape[0]);
}

// Among the bits that are stated, those that make these words of so many columns.
Result<int64_t> PackedBits(const QuantizedLayer& layer, const StoredPart& codes, int64_t columns) {
  std::string stated;
  for (const CompressedScheme& scheme : layer.config.schemes) {
    if (scheme.is_float) continue;
    const bool is_supported = scheme.bits == 2 || scheme.bits == 3 || scheme.bits == 4 || scheme.bits == 8;
    if (is_supported && CeilDiv(columns * scheme.bits, 32) == codes.shape[1]) return scheme.bits;
    stated += fmt::format("{}int{}", stated.empty() ? "" : ", ", scheme.bits);
  }
  return NoScheme(codes, layer,
                  fmt::format("{} columns, of: {}; int2, int3, int4 and int8 are supported", columns, stated));
}

// Packed into words, or as many integers as there are scales.
Status CheckZeros(const CompressedParts& parts, const GridLayout& layout, int64_t rows, int64_t bits) {
  if (!parts.zeros) return {};
  const int64_t scale_rows = layout.grid.row_stride == 0 ? 1 : rows;
  if (parts.zeros->dtype == "I32") {
    return ExpectShape(*parts.zeros, {CeilDiv(scale_rows * bits, 32), layout.num_groups},
                       "one for each scale, packed,");
  }
  const bool is_byte = parts.zeros->dtype == "I8" || parts.zeros->dtype == "U8";
  if (is_byte && parts.zeros->size() == parts.scales.size()) return {};
  return InvalidArgument("{} has shape {}, of {}: there must be one for each of the {} scales, as I8 or packed in I32",
                         parts.zeros->Where(), ShapeText(parts.zeros->shape), parts.zeros->dtype, parts.scales.size());
}

}  // namespace

Result<QuantizedWeight> DescribeCompressedInt8(const QuantizedLayer& layer) {
  const StoredPart& codes = *layer.Find(".weight");
  QUIRE_RETURN_IF_ERROR(ExpectMatrix(codes));
  QUIRE_ASSIGN_OR_RETURN(const CompressedParts parts, FindParts(layer, codes));
  QuantizedWeight weight = {.rows = codes.shape[0], .columns = codes.shape[1], .kind = WeightKind::kInt8};
  for (const CompressedScheme& scheme : layer.config.schemes) {
    if (!scheme.is_float && scheme.bits == 8 && scheme.activation_bits == 8) weight.activation = DType::kI8;
  }
  const ScaleShape shape = {.rows = weight.rows,
                            .columns = weight.columns,
                            .group_size = StatedGroup(layer, parts.scales, 8, weight.columns)};
  QUIRE_ASSIGN_OR_RETURN(GridLayout layout, LayOutScales(parts.scales, shape));
  QUIRE_RETURN_IF_ERROR(CheckZeros(parts, layout, weight.rows, 8));
  return Describe(std::move(weight), {.codes = {.part = codes, .row_bits = codes.shape[1] * 8}}, parts,
                  std::move(layout));
}

Result<QuantizedWeight> DescribeCompressedPacked(const QuantizedLayer& layer) {
  const StoredPart& codes = *layer.Find(".weight_packed");
  QUIRE_RETURN_IF_ERROR(ExpectMatrix(codes));
  QUIRE_RETURN_IF_ERROR(ExpectType(codes, "I32"));
  QUIRE_ASSIGN_OR_RETURN(const CompressedParts parts, FindParts(layer, codes));
  QUIRE_ASSIGN_OR_RETURN(const int64_t columns, UnpackedColumns(layer, codes));
  QUIRE_ASSIGN_OR_RETURN(const int64_t bits, PackedBits(layer, codes, columns));
  QuantizedWeight weight = {.rows = codes.shape[0], .columns = columns, .kind = IntKind(bits)};
  const ScaleShape shape = {
      .rows = weight.rows, .columns = columns, .group_size = StatedGroup(layer, parts.scales, bits, columns)};
  QUIRE_ASSIGN_OR_RETURN(GridLayout layout, LayOutScales(parts.scales, shape));
  QUIRE_RETURN_IF_ERROR(CheckZeros(parts, layout, weight.rows, bits));
  const RowCodes rows = {.part = codes, .bits = static_cast<int>(bits), .row_bits = codes.shape[1] * 32};
  return Describe(std::move(weight), {.codes = rows, .is_packed = true}, parts, std::move(layout));
}

}  // namespace quire
