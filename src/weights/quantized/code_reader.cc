// The layouts of packed codes: along rows, along columns (AutoGPTQ), and AutoAWQ's.
#include "weights/quantized/code_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "base/check.h"

namespace quire {
namespace {

class RowCodeReader : public CodeReader {
 public:
  explicit RowCodeReader(RowCodes layout) : layout_(std::move(layout)) {}

  Status Read(int64_t row, int64_t column, int64_t count, uint8_t* to) const override {
    QUIRE_CHECK_LE(count, kMaxCodes);
    const int64_t first_bit = row * layout_.row_bits + column * layout_.bits;
    const int64_t first_byte = first_bit / 8;
    const int64_t num_bytes = (first_bit + count * layout_.bits + 7) / 8 - first_byte;
    std::array<uint8_t, kMaxCodes + 2> piece;
    const auto bytes = std::span(piece).first(static_cast<size_t>(num_bytes));
    QUIRE_RETURN_IF_ERROR(layout_.part.file->Read(layout_.part.offset + static_cast<uint64_t>(first_byte),
                                                  std::as_writable_bytes(bytes)));
    Unpack(bytes.data(), first_bit % 8, count, to);
    return {};
  }

 private:
  void Unpack(const uint8_t* bytes, int64_t first_bit, int64_t count, uint8_t* to) const {
    if (layout_.bits == 8) {
      std::memcpy(to, bytes, static_cast<size_t>(count));
      return;
    }
    if (layout_.bits == 4) return UnpackNibbles(bytes, first_bit / 4, count, to);
    const auto mask = static_cast<uint8_t>((1U << layout_.bits) - 1U);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t bit = first_bit + i * layout_.bits;
      const uint8_t* byte = bytes + bit / 8;
      unsigned code = static_cast<unsigned>(*byte) >> (bit % 8);
      if (bit % 8 + layout_.bits > 8) code |= static_cast<unsigned>(byte[1]) << (8 - bit % 8);
      to[i] = static_cast<uint8_t>(code & mask);
    }
  }

  // `first`: 0, or 1 to begin with the second code of the first byte.
  void UnpackNibbles(const uint8_t* bytes, int64_t first, int64_t count, uint8_t* to) const {
    const int shift[2] = {layout_.high_first ? 4 : 0, layout_.high_first ? 0 : 4};
    for (int64_t i = 0; i < count; ++i) {
      const int64_t place = first + i;
      to[i] = static_cast<uint8_t>(bytes[place / 2] >> shift[place % 2] & 0x0F);
    }
  }

  RowCodes layout_;
};

class GptqCodeReader : public CodeReader {
 public:
  GptqCodeReader(std::vector<uint32_t> words, int64_t num_rows, int bits)
      : words_(std::move(words)), num_rows_(num_rows), bits_(bits) {}

  Status Read(int64_t row, int64_t column, int64_t count, uint8_t* to) const override {
    const uint32_t* words = words_.data() + row;
    const int64_t end = column + count;
    while (column < end && (bits_ == 3 || column % (32 / bits_) != 0)) {
      *to++ = CodeOfStream(words, num_rows_, bits_, column++);
    }
    // A word at a time: each is in a cache line, and often a page, of its own.
    for (; column < end; column += 32 / bits_) {
      uint32_t word = words[column * bits_ / 32 * num_rows_];
      const int64_t num_codes = std::min<int64_t>(32 / bits_, end - column);
      for (int64_t i = 0; i < num_codes; ++i, word >>= bits_) *to++ = static_cast<uint8_t>(word & ((1U << bits_) - 1U));
    }
    return {};
  }

 private:
  std::vector<uint32_t> words_;
  int64_t num_rows_;
  int bits_;
};

class AwqCodeReader : public CodeReader {
 public:
  AwqCodeReader(std::vector<uint32_t> words, int64_t words_per_column)
      : words_(std::move(words)), words_per_column_(words_per_column) {}

  Status Read(int64_t row, int64_t column, int64_t count, uint8_t* to) const override {
    const int shift = 4 * kAwqPlaces[row % 8];
    const uint32_t* word = words_.data() + column * words_per_column_ + row / 8;
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<uint8_t>(word[i * words_per_column_] >> shift & 0x0FU);
    return {};
  }

 private:
  std::vector<uint32_t> words_;
  int64_t words_per_column_;
};

}  // namespace

std::unique_ptr<CodeReader> MakeRowCodes(RowCodes layout) { return std::make_unique<RowCodeReader>(std::move(layout)); }

Result<std::unique_ptr<CodeReader>> ReadGptqCodes(const StoredPart& part, int bits) {
  QUIRE_ASSIGN_OR_RETURN(std::vector<uint32_t> words, ReadWords(part));
  return std::unique_ptr<CodeReader>(std::make_unique<GptqCodeReader>(std::move(words), part.shape[1], bits));
}

Result<std::unique_ptr<CodeReader>> ReadAwqCodes(const StoredPart& part) {
  QUIRE_ASSIGN_OR_RETURN(std::vector<uint32_t> words, ReadWords(part));
  return std::unique_ptr<CodeReader>(std::make_unique<AwqCodeReader>(std::move(words), part.shape[1]));
}

}  // namespace quire
