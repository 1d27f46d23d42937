// The layouts of packed codes: along rows, along columns (AutoGPTQ), and AutoAWQ's.
#include "weights/quantized/code_reader.h"

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
    // The two codes of a byte, or of the bits of a little-endian stream.
    const int64_t swap = layout_.high_first ? 4 : 0;
    const auto mask = static_cast<uint8_t>((1U << layout_.bits) - 1U);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t bit = (first_bit + i * layout_.bits) ^ swap;
      const uint8_t* byte = bytes + bit / 8;
      unsigned code = static_cast<unsigned>(*byte) >> (bit % 8);
      if (bit % 8 + layout_.bits > 8) code |= static_cast<unsigned>(byte[1]) << (8 - bit % 8);
      to[i] = static_cast<uint8_t>(code & mask);
    }
  }

  RowCodes layout_;
};

class GptqCodeReader : public CodeReader {
 public:
  GptqCodeReader(std::vector<uint32_t> words, int64_t num_rows, int bits)
      : words_(std::move(words)), num_rows_(num_rows), bits_(bits) {}

  Status Read(int64_t row, int64_t column, int64_t count, uint8_t* to) const override {
    for (int64_t i = 0; i < count; ++i) to[i] = CodeOfStream(words_.data() + row, num_rows_, bits_, column + i);
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
