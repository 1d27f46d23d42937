// CodeReader: the codes of a weight [rows, columns], one per element, from the layouts in which checkpoints pack them.
// Const; any thread.
#pragma once

#include <cstdint>
#include <memory>

#include "quire/result.h"
#include "weights/quantized/stored_part.h"

namespace quire {

class CodeReader {
 public:
  CodeReader() = default;
  virtual ~CodeReader() = default;
  CodeReader(const CodeReader&) = delete;
  CodeReader& operator=(const CodeReader&) = delete;

  static constexpr int64_t kMaxCodes = 16384;

  // Of columns [column, column + count) of a row. REQUIRES: within the weight; count <= kMaxCodes.
  virtual Status Read(int64_t row, int64_t column, int64_t count, uint8_t* to) const = 0;
};

// Rows as streams of bits, the low ones first, which are read from the file as they are asked for.
struct RowCodes {
  StoredPart part;
  int bits = 8;             // 1 to 8
  int64_t row_bits = 0;     // from the begin of a row to that of the next
  bool high_first = false;  // of two codes in a byte; bits = 4
};
// REQUIRES: the part holds all rows.
std::unique_ptr<CodeReader> MakeRowCodes(RowCodes layout);

// AutoGPTQ: words [columns * bits / 32, rows], each column of words a stream of bits along the columns of a row. The
// words are kept in memory, since a row touches all of them.
Result<std::unique_ptr<CodeReader>> ReadGptqCodes(const StoredPart& part, int bits);

// AutoAWQ ("gemm"): words [columns, rows / 8] of eight rows each, the even rows in the lower half.
Result<std::unique_ptr<CodeReader>> ReadAwqCodes(const StoredPart& part);

// Where the code of row r, of each eight, stands in its word of AutoAWQ.
inline constexpr int kAwqPlaces[8] = {0, 4, 1, 5, 2, 6, 3, 7};

// Codes of `bits` from a stream of bits in words, the low ones first. `stride`: words from one to the next.
// REQUIRES: the stream holds code `index`.
inline uint8_t CodeOfStream(const uint32_t* words, int64_t stride, int bits, int64_t index) {
  const int64_t bit = index * bits;
  const int shift = static_cast<int>(bit % 32);
  const uint32_t* word = words + bit / 32 * stride;
  uint32_t code = *word >> shift;
  if (shift + bits > 32) code |= word[stride] << (32 - shift);
  return static_cast<uint8_t>(code & ((1U << bits) - 1U));
}

}  // namespace quire
