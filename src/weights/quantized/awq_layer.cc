// AutoAWQ's weights in its layout "gemm": 4-bit codes of eight rows in a word, the rows interleaved, a scale and a zero
// point for each row and group of columns.
//
// (code - zero) * scale in float32. The package computes in float16: there it rounds the same exact product.
#include <memory>
#include <utility>

#include "base/error.h"
#include "weights/quantized/quantized_layer.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

struct AwqParts {
  StoredPart codes, zeros, scales;
};

// [groups, rows], as the scales.
Result<std::vector<float>> ReadAwqZeros(const AwqParts& parts) {
  QUIRE_ASSIGN_OR_RETURN(const std::vector<uint32_t> words, ReadWords(parts.zeros));
  std::vector<float> zeros;
  zeros.reserve(words.size() * 8);
  for (const uint32_t word : words) {
    for (const int place : kAwqPlaces) zeros.push_back(static_cast<float>(word >> (4 * place) & 0x0FU));
  }
  return zeros;
}

Result<OpenedWeight> OpenAwq(const AwqParts& parts, ScaleGrid grid) {
  OpenedWeight opened;
  opened.values = UnsignedValues();
  opened.scales = std::move(grid);
  QUIRE_ASSIGN_OR_RETURN(opened.codes, ReadAwqCodes(parts.codes));
  QUIRE_ASSIGN_OR_RETURN(opened.scales.scales, ReadFloats(parts.scales));
  QUIRE_ASSIGN_OR_RETURN(opened.scales.zeros, ReadAwqZeros(parts));
  return opened;
}

}  // namespace

Result<QuantizedWeight> DescribeAwq(const QuantizedLayer& layer) {
  AwqParts parts;
  parts.codes = *layer.Find(".qweight");
  QUIRE_ASSIGN_OR_RETURN(const StoredPart* zeros, layer.Need(".qzeros", parts.codes));
  QUIRE_ASSIGN_OR_RETURN(const StoredPart* scales, layer.Need(".scales", parts.codes));
  parts.zeros = *zeros;
  parts.scales = *scales;
  for (const StoredPart* part : {&parts.codes, &parts.zeros, &parts.scales}) QUIRE_RETURN_IF_ERROR(ExpectMatrix(*part));
  for (const StoredPart* part : {&parts.codes, &parts.zeros}) QUIRE_RETURN_IF_ERROR(ExpectType(*part, "I32"));
  const int64_t columns = parts.codes.shape[0], rows = parts.codes.shape[1] * 8;
  const bool is_channel = layer.config.group_size < 0;
  const int64_t group = is_channel ? columns : layer.config.group_size;
  const int64_t num_groups = CeilDiv(columns, group);
  const std::string why = fmt::format("group_size {} in {}", layer.config.group_size, layer.config.path);
  QUIRE_RETURN_IF_ERROR(ExpectShape(parts.scales, {num_groups, rows}, why));
  QUIRE_RETURN_IF_ERROR(ExpectShape(parts.zeros, {num_groups, rows / 8}, why));
  QuantizedWeight weight = {.rows = rows,
                            .columns = columns,
                            .kind = WeightKind::kInt4,
                            .format_name = is_channel ? "awq-int4-channel" : fmt::format("awq-int4-g{}", group),
                            .group = group,
                            .has_zero_points = true};
  const ScaleGrid grid = {.columns_per_scale = group, .row_stride = 1, .group_stride = rows};
  weight.open = [parts, grid] { return OpenAwq(parts, grid); };
  return Finish(std::move(weight), parts.codes, {&parts.zeros, &parts.scales});
}

}  // namespace quire
