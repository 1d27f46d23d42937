// What the formats share: finding parts, checking their shapes, and the ways in which scales lie.
#include "weights/quantized/quantized_layer.h"

#include <algorithm>

#include "base/error.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

GridLayout OneScale(const ScaleShape& shape) {
  return {.name = "tensor", .grid = {.rows_per_scale = shape.rows, .columns_per_scale = shape.columns}};
}

GridLayout PerRow(const ScaleShape& shape) {
  return {.name = "channel", .grid = {.columns_per_scale = shape.columns, .row_stride = 1}};
}

GridLayout PerGroup(int64_t num_groups, int64_t group_size) {
  return {.name = fmt::format("g{}", group_size),
          .num_groups = num_groups,
          .grid = {.columns_per_scale = group_size, .row_stride = num_groups}};
}

GridLayout PerBlock(int64_t num_groups, int64_t rows, int64_t columns) {
  const std::string size = rows == columns ? fmt::format("{}", rows) : fmt::format("{}x{}", rows, columns);
  return {.name = "block" + size,
          .num_groups = num_groups,
          .grid = {.rows_per_scale = rows, .columns_per_scale = columns, .row_stride = num_groups}};
}

}  // namespace

const StoredPart* QuantizedLayer::Find(std::string_view suffix) const {
  const auto it = parts.find(name + std::string(suffix));
  return it == parts.end() ? nullptr : &it->second;
}

Result<const StoredPart*> QuantizedLayer::Need(std::string_view suffix, const StoredPart& codes) const {
  const StoredPart* part = Find(suffix);
  if (part != nullptr) return part;
  return NotFound("{}: its {} is missing, which quantised weights need: is the download incomplete?", codes.Where(),
                  PrintableName(name + std::string(suffix)));
}

Status ExpectMatrix(const StoredPart& part) {
  const bool is_matrix = part.shape.size() == 2 && part.shape[0] > 0 && part.shape[1] > 0;
  if (is_matrix) return {};
  return InvalidArgument("{} has shape {}: must be a matrix, and not empty", part.Where(), ShapeText(part.shape));
}

Status ExpectType(const StoredPart& part, std::string_view dtype) {
  if (part.dtype == dtype) return {};
  return InvalidArgument("{} is stored as {}: must be {}; use a checkpoint that its own package has written",
                         part.Where(), part.dtype, dtype);
}

Status ExpectShape(const StoredPart& part, std::initializer_list<int64_t> shape, std::string_view why) {
  if (std::equal(shape.begin(), shape.end(), part.shape.begin(), part.shape.end())) return {};
  return InvalidArgument("{} has shape {}: {} asks for {}", part.Where(), ShapeText(part.shape), why,
                         ShapeText(std::vector<int64_t>(shape)));
}

Result<GridLayout> LayOutScales(const StoredPart& scales, const ScaleShape& shape) {
  if (scales.bytes() == 0 || scales.dtype.starts_with("I")) {
    return InvalidArgument("{} is stored as {}, of shape {}: scales are floats, and at least one", scales.Where(),
                           scales.dtype, ShapeText(scales.shape));
  }
  if (scales.size() == 1) return OneScale(shape);
  const std::vector<int64_t>& found = scales.shape;
  const bool is_column = found.size() == 1 || (found.size() == 2 && found[1] == 1);
  if (is_column && found[0] == shape.rows) return PerRow(shape);
  if (found.size() == 2) {
    const auto is_grid = [&](int64_t rows, int64_t columns) {
      return found[0] == CeilDiv(shape.rows, rows) && found[1] == CeilDiv(shape.columns, columns);
    };
    if (shape.block_rows > 0 && is_grid(shape.block_rows, shape.block_columns)) {
      return PerBlock(found[1], shape.block_rows, shape.block_columns);
    }
    if (shape.group_size > 0 && is_grid(1, shape.group_size)) return PerGroup(found[1], shape.group_size);
  }
  std::string expected = fmt::format("one scale, or {} rows of them", shape.rows);
  if (shape.group_size > 0)
    expected += fmt::format(", with groups of {} in {} columns", shape.group_size, shape.columns);
  if (shape.block_rows > 0) expected += fmt::format(", or blocks of {} x {}", shape.block_rows, shape.block_columns);
  return InvalidArgument("{} has shape {}: for a weight of {} rows and {} columns there must be {}", scales.Where(),
                         ShapeText(found), shape.rows, shape.columns, expected);
}

Result<std::vector<int32_t>> ReadGroupIndex(const StoredPart& part, int64_t num_groups) {
  QUIRE_ASSIGN_OR_RETURN(std::vector<int32_t> groups, ReadIntegers(part));
  for (const int32_t group : groups) {
    if (group < 0 || group >= num_groups) {
      return DataLoss("{} holds group {}: there are {}; the file is damaged, or its group size is another one",
                      part.Where(), group, num_groups);
    }
  }
  return groups;
}

Result<QuantizedWeight> Finish(QuantizedWeight weight, const StoredPart& codes,
                               std::initializer_list<const StoredPart*> parts) {
  weight.stored_bytes = codes.bytes();
  for (const StoredPart* part : parts) weight.stored_bytes += part == nullptr ? 0 : part->bytes();
  const bool fits = weight.rows > 0 && weight.columns > 0 && weight.rows <= INT32_MAX && weight.columns <= INT32_MAX &&
                    weight.stored_bytes / static_cast<uint64_t>(weight.rows) <= INT32_MAX;
  if (!fits) {
    return InvalidArgument("{}: a weight of {} rows and {} columns: must have at least one, and below 2^31 of each",
                           codes.Where(), weight.rows, weight.columns);
  }
  return weight;
}

}  // namespace quire
