// Finds the scale of an element, and applies it.
#include "weights/quantized/scale_grid.h"

#include <algorithm>

namespace quire {

ScaleGrid::Run ScaleGrid::RunAt(int64_t row, int64_t column, int64_t columns) const {
  if (elements_per_scale > 0) {
    const int64_t element = row * columns + column;
    return {element / elements_per_scale, elements_per_scale - element % elements_per_scale};
  }
  const int64_t first = row / rows_per_scale * row_stride;
  if (!group_of_column.empty()) return {first + group_of_column[static_cast<size_t>(column)] * group_stride, 1};
  return {first + column / columns_per_scale * group_stride, columns_per_scale - column % columns_per_scale};
}

void ScaleGrid::Apply(int64_t row, int64_t column, int64_t columns, std::span<const uint8_t> codes,
                      const CodeValues& values, float* to) const {
  const auto count = static_cast<int64_t>(codes.size());
  for (int64_t done = 0; done < count;) {
    const Run run = RunAt(row, column + done, columns);
    const auto place = static_cast<size_t>(run.scale);
    const float scale = scales[place];
    const float zero = zeros.empty() ? 0.0F : zeros[place];
    const int64_t end = std::min(count, done + run.length);
    for (; done < end; ++done) to[done] = (values[codes[static_cast<size_t>(done)]] - zero) * scale * factor;
  }
}

}  // namespace quire
