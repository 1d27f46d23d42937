// ScaleGrid: scales and zero points of a weight [rows, columns], whichever part of it shares one: all, a row, a group
// of a row's columns, a block of rows and columns, any set of columns, or a run of elements across rows. A value, const
// once it is filled in; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "weights/quantized/code_values.h"

namespace quire {

struct ScaleGrid {
  std::vector<float> scales;
  std::vector<float> zeros;  // as many; empty: all 0
  float factor = 1;          // of every element, multiplied last

  // Element (row, column) has scale row / rows_per_scale * row_stride + group * group_stride, group being that of its
  // column: column / columns_per_scale, or group_of_column[column].
  int64_t rows_per_scale = 1;
  int64_t columns_per_scale = 1;
  int64_t row_stride = 0;
  int64_t group_stride = 1;
  std::vector<int32_t> group_of_column;
  // Instead, if not 0: element i of the weight, row by row, has scale i / elements_per_scale.
  int64_t elements_per_scale = 0;

  // to = (values[code] - zero) * scale * factor, each operation rounded to float32, for the codes from (row, column)
  // on. `columns`: of the weight.
  void Apply(int64_t row, int64_t column, int64_t columns, std::span<const uint8_t> codes, const CodeValues& values,
             float* to) const;

 private:
  // Where the scale of an element is, and how many elements from it on share it.
  struct Run {
    int64_t scale;
    int64_t length;
  };
  Run RunAt(int64_t row, int64_t column, int64_t columns) const;
};

}  // namespace quire
