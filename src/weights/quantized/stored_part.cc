// Reads whole tensors of a few types as floats and integers.
#include "weights/quantized/stored_part.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <span>

#include "base/error.h"
#include "tensor/dtype.h"
#include "weights/quantized/code_values.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

uint64_t ElementBytes(std::string_view dtype) {
  if (dtype == "I64") return 8;
  if (dtype == "F32" || dtype == "I32") return 4;
  if (dtype == "F16" || dtype == "BF16") return 2;
  const bool is_byte = dtype == "U8" || dtype == "I8" || dtype.starts_with("F8_");
  return is_byte ? 1 : 0;
}

// Every value of the type T in the part, converted by `convert`.
template <typename T, typename To, typename Convert>
Result<std::vector<To>> ReadConverted(const StoredPart& part, Convert convert) {
  std::vector<T> stored(static_cast<size_t>(part.size()));
  QUIRE_RETURN_IF_ERROR(part.file->Read(part.offset, std::as_writable_bytes(std::span(stored))));
  std::vector<To> values(stored.size());
  std::transform(stored.begin(), stored.end(), values.begin(), convert);
  return values;
}

Error UnknownType(const StoredPart& part, std::string_view expected) {
  return Unimplemented("{} is stored as {}: {} are expected there", part.Where(), part.dtype, expected);
}

Result<std::vector<int32_t>> ReadLongIntegers(const StoredPart& part) {
  std::vector<int64_t> stored(static_cast<size_t>(part.size()));
  QUIRE_RETURN_IF_ERROR(part.file->Read(part.offset, std::as_writable_bytes(std::span(stored))));
  std::vector<int32_t> values;
  for (const int64_t value : stored) {
    if (value < INT32_MIN || value > INT32_MAX) {
      return DataLoss("{} holds {}, beyond 32 bits: the file is damaged", part.Where(), value);
    }
    values.push_back(static_cast<int32_t>(value));
  }
  return values;
}

}  // namespace

int64_t StoredPart::size() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

uint64_t StoredPart::bytes() const { return static_cast<uint64_t>(size()) * ElementBytes(dtype); }

std::string StoredPart::Where() const { return fmt::format("{}: tensor {}", file->path(), PrintableName(name)); }

Result<std::vector<float>> ReadFloats(const StoredPart& part) {
  const auto by_table = [](const CodeValues& values) { return [&values](uint8_t code) { return values[code]; }; };
  if (part.dtype == "F32") return ReadConverted<float, float>(part, [](float value) { return value; });
  if (part.dtype == "F16") return ReadConverted<uint16_t, float>(part, HalfToFloat);
  if (part.dtype == "BF16") {
    return ReadConverted<uint16_t, float>(part, [](uint16_t bits) { return ToFloat(static_cast<Bf16>(bits)); });
  }
  if (part.dtype == "F8_E4M3") return ReadConverted<uint8_t, float>(part, by_table(Fp8E4M3Values()));
  if (part.dtype == "F8_E5M2") return ReadConverted<uint8_t, float>(part, by_table(Fp8E5M2Values()));
  if (part.dtype == "F8_E8M0" || part.dtype == "U8") {
    return ReadConverted<uint8_t, float>(part, by_table(ExponentValues()));
  }
  return UnknownType(part, "floats");
}

Result<std::vector<int32_t>> ReadIntegers(const StoredPart& part) {
  if (part.dtype == "I8") return ReadConverted<int8_t, int32_t>(part, [](int8_t value) { return int32_t{value}; });
  if (part.dtype == "U8") return ReadConverted<uint8_t, int32_t>(part, [](uint8_t value) { return int32_t{value}; });
  if (part.dtype == "I32") return ReadConverted<int32_t, int32_t>(part, [](int32_t value) { return value; });
  if (part.dtype == "I64") return ReadLongIntegers(part);
  return UnknownType(part, "integers");
}

Result<std::vector<uint32_t>> ReadWords(const StoredPart& part) {
  if (part.dtype != "I32") return UnknownType(part, "I32 words");
  return ReadConverted<uint32_t, uint32_t>(part, [](uint32_t word) { return word; });
}

Result<std::string> ReadText(const StoredPart& part) {
  std::string text(part.bytes(), '\0');
  QUIRE_RETURN_IF_ERROR(part.file->Read(part.offset, std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace quire
