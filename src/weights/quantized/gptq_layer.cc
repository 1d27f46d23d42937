// AutoGPTQ's and GPTQModel's weights: codes of 2, 3, 4 or 8 bits in words along the columns, a scale and a zero point
// for each row and group of columns, and, with act-order, the group of each column in g_idx. The format "gptq" stores
// zero points minus 1, "gptq_v2" as they are.
//
// (code - zero) * scale in float32. The packages compute in float16: there they round the same exact product.
#include <algorithm>
#include <memory>
#include <utility>

#include "base/error.h"
#include "weights/quantized/quantized_layer.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

struct GptqParts {
  StoredPart codes, zeros, scales;
  std::optional<StoredPart> groups;
  int bits = 4;
  bool zeros_less_one = true;
};

// Adds the 1 to a word of zero points. GPTQModel takes and adds it on whole words, and what it took 1 of a 0 has
// borrowed from the next zero point: so words are added to as wholes, too. (Of 3 bits, which straddle words, each by
// itself.)
uint32_t OneToEach(int bits) { return bits == 2 ? 0x55555555U : bits == 4 ? 0x11111111U : bits == 8 ? 0x01010101U : 0; }

// [groups, rows], as the scales.
Result<std::vector<float>> ReadGptqZeros(const GptqParts& parts) {
  QUIRE_ASSIGN_OR_RETURN(std::vector<uint32_t> words, ReadWords(parts.zeros));
  const int64_t num_groups = parts.scales.shape[0], rows = parts.scales.shape[1];
  if (parts.zeros_less_one) {
    for (uint32_t& word : words) word += OneToEach(parts.bits);
  }
  const int more = parts.zeros_less_one && parts.bits == 3 ? 1 : 0;
  std::vector<float> zeros;
  zeros.reserve(static_cast<size_t>(num_groups * rows));
  for (int64_t group = 0; group < num_groups; ++group) {
    const uint32_t* stream = words.data() + group * parts.zeros.shape[1];
    for (int64_t row = 0; row < rows; ++row) {
      zeros.push_back(static_cast<float>((CodeOfStream(stream, 1, parts.bits, row) + more) & ((1 << parts.bits) - 1)));
    }
  }
  return zeros;
}

Result<OpenedWeight> OpenGptq(const GptqParts& parts, ScaleGrid grid) {
  OpenedWeight opened;
  opened.values = UnsignedValues();
  opened.scales = std::move(grid);
  QUIRE_ASSIGN_OR_RETURN(opened.codes, ReadGptqCodes(parts.codes, parts.bits));
  QUIRE_ASSIGN_OR_RETURN(opened.scales.scales, ReadFloats(parts.scales));
  QUIRE_ASSIGN_OR_RETURN(opened.scales.zeros, ReadGptqZeros(parts));
  if (parts.groups) {
    QUIRE_ASSIGN_OR_RETURN(opened.scales.group_of_column, ReadGroupIndex(*parts.groups, parts.scales.shape[0]));
  }
  return opened;
}

// Rules may give layers other bits than the config's: with g_idx, the shape of the codes tells.
Result<int64_t> GptqBits(const QuantizedLayer& layer, const StoredPart& codes, const StoredPart* groups) {
  if (groups == nullptr) return layer.config.bits;
  const int64_t columns = groups->size();
  for (const int64_t bits : {layer.config.bits, int64_t{2}, int64_t{3}, int64_t{4}, int64_t{8}}) {
    const bool fits = columns > 0 && columns <= INT32_MAX && CeilDiv(columns * bits, 32) == codes.shape[0];
    if (fits && (bits == layer.config.bits || layer.config.has_rules)) return bits;
  }
  return InvalidArgument("{} has shape {}: {} columns of {} bits ({}, {}) make other words", codes.Where(),
                         ShapeText(codes.shape), columns, layer.config.bits, groups->Where(), layer.config.path);
}

// Columns that share a scale. The number of scales must be that of the config's groups, unless rules change them.
Result<int64_t> GptqGroup(const QuantizedLayer& layer, const StoredPart& scales, int64_t columns) {
  const int64_t stated = layer.config.group_size < 0 ? columns : layer.config.group_size;
  const int64_t found = scales.shape[0];
  if (CeilDiv(columns, stated) == found) return std::min(stated, columns);
  if (layer.config.has_rules && columns % found == 0) return columns / found;
  return InvalidArgument("{} has shape {}: group_size {} in {} makes {} groups of {} columns", scales.Where(),
                         ShapeText(scales.shape), layer.config.group_size, layer.config.path, CeilDiv(columns, stated),
                         columns);
}

Result<GptqParts> FindGptqParts(const QuantizedLayer& layer) {
  GptqParts parts;
  parts.codes = *layer.Find(".qweight");
  QUIRE_ASSIGN_OR_RETURN(const StoredPart* zeros, layer.Need(".qzeros", parts.codes));
  QUIRE_ASSIGN_OR_RETURN(const StoredPart* scales, layer.Need(".scales", parts.codes));
  parts.zeros = *zeros;
  parts.scales = *scales;
  if (const StoredPart* groups = layer.Find(".g_idx")) parts.groups = *groups;
  for (const StoredPart* part : {&parts.codes, &parts.zeros, &parts.scales}) QUIRE_RETURN_IF_ERROR(ExpectMatrix(*part));
  for (const StoredPart* part : {&parts.codes, &parts.zeros}) QUIRE_RETURN_IF_ERROR(ExpectType(*part, "I32"));
  QUIRE_ASSIGN_OR_RETURN(const int64_t bits, GptqBits(layer, parts.codes, layer.Find(".g_idx")));
  parts.bits = static_cast<int>(bits);
  parts.zeros_less_one = layer.config.zeros_less_one;
  return parts;
}

}  // namespace

Result<QuantizedWeight> DescribeGptq(const QuantizedLayer& layer) {
  QUIRE_ASSIGN_OR_RETURN(GptqParts parts, FindGptqParts(layer));
  const int64_t rows = parts.codes.shape[1];
  const int64_t columns = parts.groups ? parts.groups->size() : parts.codes.shape[0] * 32 / parts.bits;
  QUIRE_ASSIGN_OR_RETURN(const int64_t group, GptqGroup(layer, parts.scales, columns));
  const int64_t num_groups = parts.scales.shape[0];
  QUIRE_RETURN_IF_ERROR(ExpectShape(parts.scales, {num_groups, rows}, "one scale for each group and output"));
  QUIRE_RETURN_IF_ERROR(
      ExpectShape(parts.zeros, {num_groups, CeilDiv(rows * parts.bits, 32)}, "one zero point for each scale, packed,"));
  if (parts.groups) QUIRE_RETURN_IF_ERROR(ExpectShape(*parts.groups, {columns}, "one group for each column"));
  constexpr WeightKind kKinds[] = {WeightKind::kInt2, WeightKind::kInt3, WeightKind::kInt4};
  QuantizedWeight weight = {
      .rows = rows,
      .columns = columns,
      .kind = parts.bits == 8 ? WeightKind::kInt8 : kKinds[parts.bits - 2],
      .format_name =
          fmt::format("gptq-int{}-{}", parts.bits, layer.config.group_size < 0 ? "channel" : fmt::format("g{}", group)),
      .group = group,
      .has_zero_points = true};
  const ScaleGrid grid = {.columns_per_scale = group, .row_stride = 1, .group_stride = rows};
  weight.open = [parts, grid] { return OpenGptq(parts, grid); };
  const StoredPart* groups = parts.groups ? &*parts.groups : nullptr;
  return Finish(std::move(weight), parts.codes, {&parts.zeros, &parts.scales, groups});
}

}  // namespace quire
