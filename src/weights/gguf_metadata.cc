#include "weights/gguf_metadata.h"

#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "base/error.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

// Files have some tens of keys; a limit keeps a hostile one from filling memory with them.
constexpr uint64_t kMaxPairs = uint64_t{1} << 16;
constexpr uint64_t kMaxKeyBytes = 65535;  // the format's own limit
constexpr int kMaxArrayDepth = 4;

struct TypeFacts {
  std::string_view name;
  uint64_t bytes;  // of a value; 0: it says itself
};
constexpr std::array<TypeFacts, 13> kTypes = {{{"uint8", 1},
                                               {"int8", 1},
                                               {"uint16", 2},
                                               {"int16", 2},
                                               {"uint32", 4},
                                               {"int32", 4},
                                               {"float32", 4},
                                               {"bool", 1},
                                               {"string", 0},
                                               {"array", 0},
                                               {"uint64", 8},
                                               {"int64", 8},
                                               {"float64", 8}}};

uint64_t TypeBytes(GgufType type) { return kTypes[static_cast<size_t>(type)].bytes; }

Result<GgufType> ReadType(GgufReader& reader, const std::string& path, std::string_view what) {
  QUIRE_ASSIGN_OR_RETURN(const auto number, reader.Number<uint32_t>(what));
  if (number >= kTypes.size()) {
    return DataLoss("{}: {}: its type is {}, which is not one of GGUF's (0 to {})", path, what, number,
                    kTypes.size() - 1);
  }
  return static_cast<GgufType>(number);
}

template <typename T>
T Load(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

// None: not an integer, or one beyond int64.
std::optional<int64_t> LoadInt(GgufType type, const char* at) {
  switch (type) {
    case GgufType::kUint8:
      return Load<uint8_t>(at);
    case GgufType::kInt8:
      return Load<int8_t>(at);
    case GgufType::kUint16:
      return Load<uint16_t>(at);
    case GgufType::kInt16:
      return Load<int16_t>(at);
    case GgufType::kUint32:
      return Load<uint32_t>(at);
    case GgufType::kInt32:
      return Load<int32_t>(at);
    case GgufType::kInt64:
      return Load<int64_t>(at);
    case GgufType::kUint64: {
      const auto value = Load<uint64_t>(at);
      if (value > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

std::optional<double> LoadFloat(GgufType type, const char* at) {
  if (type == GgufType::kFloat32) return Load<float>(at);
  if (type == GgufType::kFloat64) return Load<double>(at);
  const std::optional<int64_t> integer = LoadInt(type, at);
  if (!integer) return std::nullopt;
  return static_cast<double>(*integer);
}

// Eight bytes of length, then the text. It was checked when the file was opened.
std::string_view LoadString(const char*& at) {
  const auto length = Load<uint64_t>(at);
  const std::string_view text(at + sizeof(length), length);
  at = text.data() + text.size();
  return text;
}

Status SkipElements(GgufReader& reader, const std::string& path, GgufType element, uint64_t count,
                    std::string_view what, int depth) {
  if (const uint64_t bytes = TypeBytes(element); bytes > 0) {
    if (count > reader.remaining() / bytes) {
      return DataLoss("{}: {}: truncated: an array of {} values of {}, and the file has {} bytes more", path, what,
                      count, GgufTypeName(element), reader.remaining());
    }
    return reader.Skip(count * bytes, what);
  }
  if (count > reader.remaining() / sizeof(uint64_t)) {
    return DataLoss("{}: {}: truncated: an array of {} {}s, and the file has {} bytes more", path, what, count,
                    GgufTypeName(element), reader.remaining());
  }
  if (element == GgufType::kString) {
    for (uint64_t i = 0; i < count; ++i) {
      QUIRE_ASSIGN_OR_RETURN(const std::string_view text, reader.String(what));
      static_cast<void>(text);
    }
    return {};
  }
  if (depth == kMaxArrayDepth) return DataLoss("{}: {}: arrays within arrays, over {} deep", path, what, depth);
  for (uint64_t i = 0; i < count; ++i) {
    QUIRE_ASSIGN_OR_RETURN(const GgufType inner, ReadType(reader, path, what));
    QUIRE_ASSIGN_OR_RETURN(const auto inner_count, reader.Number<uint64_t>(what));
    QUIRE_RETURN_IF_ERROR(SkipElements(reader, path, inner, inner_count, what, depth + 1));
  }
  return {};
}

}  // namespace

std::string_view GgufTypeName(GgufType type) { return kTypes[static_cast<size_t>(type)].name; }

Result<GgufMetadata> GgufMetadata::Read(const std::string& path, uint64_t num_pairs, GgufReader& reader) {
  if (num_pairs > kMaxPairs) {
    return DataLoss("{}: its header promises {} metadata keys, over the limit of {}", path, num_pairs, kMaxPairs);
  }
  GgufMetadata metadata;
  metadata.path_ = path;
  for (uint64_t i = 0; i < num_pairs; ++i) {
    const std::string which = fmt::format("metadata key {} of {}", i + 1, num_pairs);
    QUIRE_ASSIGN_OR_RETURN(const std::string_view name, reader.String(which));
    if (name.size() > kMaxKeyBytes) return DataLoss("{}: {} has {} bytes", path, which, name.size());
    std::string key(name);
    QUIRE_ASSIGN_OR_RETURN(const Value value, metadata.ReadValue(reader, fmt::format("key {}", PrintableName(key))));
    const auto [place, inserted] = metadata.values_.emplace(std::move(key), value);
    if (!inserted) return DataLoss("{}: key {} is there twice", path, PrintableName(place->first));
  }
  return metadata;
}

Result<GgufMetadata::Value> GgufMetadata::ReadValue(GgufReader& reader, std::string_view what) const {
  Value value;
  QUIRE_ASSIGN_OR_RETURN(value.type, ReadType(reader, path_, what));
  if (value.type != GgufType::kArray) {
    value.offset = reader.position();
    QUIRE_RETURN_IF_ERROR(SkipElements(reader, path_, value.type, 1, what, 0));
    value.end = reader.position();
    return value;
  }
  QUIRE_ASSIGN_OR_RETURN(value.element, ReadType(reader, path_, what));
  QUIRE_ASSIGN_OR_RETURN(value.count, reader.Number<uint64_t>(what));
  value.offset = reader.position();
  QUIRE_RETURN_IF_ERROR(SkipElements(reader, path_, value.element, value.count, what, 1));
  value.end = reader.position();
  return value;
}

std::vector<std::string_view> GgufMetadata::keys() const {
  std::vector<std::string_view> keys;
  for (const auto& [key, value] : values_) keys.push_back(key);
  return keys;
}

std::string GgufMetadata::TypeText(std::string_view key) const {
  const auto it = values_.find(key);
  if (it == values_.end()) return "";
  const Value& value = it->second;
  if (value.type != GgufType::kArray) return std::string(GgufTypeName(value.type));
  return fmt::format("{}[{}]", GgufTypeName(value.element), value.count);
}

std::string_view GgufMetadata::StoredBytes(std::string_view key) const {
  constexpr uint64_t kArrayHead = sizeof(uint32_t) + sizeof(uint64_t);
  const Value& value = values_.find(key)->second;
  const uint64_t begin = value.offset - (value.type == GgufType::kArray ? kArrayHead : 0);
  return std::string_view(*head_).substr(begin, value.end - begin);
}

uint64_t GgufMetadata::ArrayLength(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() || it->second.type != GgufType::kArray ? 0 : it->second.count;
}

Result<GgufMetadata::Value> GgufMetadata::Find(std::string_view key) const {
  const auto it = values_.find(key);
  if (it == values_.end()) return NotFound("{}: key {} is missing", path_, PrintableName(key));
  return it->second;
}

Result<GgufMetadata::Value> GgufMetadata::FindArray(std::string_view key) const {
  QUIRE_ASSIGN_OR_RETURN(const Value value, Find(key));
  if (value.type != GgufType::kArray) return Mismatch(key, "an array");
  return value;
}

Error GgufMetadata::Mismatch(std::string_view key, std::string_view wanted) const {
  return InvalidArgument("{}: key {} is of type {}: must be {}", path_, PrintableName(key), TypeText(key), wanted);
}

Result<std::string_view> GgufMetadata::String(std::string_view key) const {
  QUIRE_ASSIGN_OR_RETURN(const Value value, Find(key));
  if (value.type != GgufType::kString) return Mismatch(key, "a string");
  const char* at = At(value);
  return LoadString(at);
}

Result<int64_t> GgufMetadata::Int(std::string_view key, int64_t min, int64_t max) const {
  QUIRE_ASSIGN_OR_RETURN(const Value value, Find(key));
  const std::optional<int64_t> integer = LoadInt(value.type, At(value));
  if (!integer) return Mismatch(key, "an integer of at most 63 bits");
  if (*integer < min || *integer > max) {
    return InvalidArgument("{}: key {} is {}: must be in [{}, {}]", path_, PrintableName(key), *integer, min, max);
  }
  return *integer;
}

Result<double> GgufMetadata::Float(std::string_view key) const {
  QUIRE_ASSIGN_OR_RETURN(const Value value, Find(key));
  const std::optional<double> number = LoadFloat(value.type, At(value));
  if (!number) return Mismatch(key, "a number");
  if (!std::isfinite(*number)) {
    return InvalidArgument("{}: key {} is {}: must be a finite number", path_, PrintableName(key), *number);
  }
  return *number;
}

Result<bool> GgufMetadata::Bool(std::string_view key) const {
  QUIRE_ASSIGN_OR_RETURN(const Value value, Find(key));
  if (value.type != GgufType::kBool) return Mismatch(key, "a bool");
  return *At(value) != 0;
}

Result<std::vector<std::string_view>> GgufMetadata::Strings(std::string_view key) const {
  QUIRE_ASSIGN_OR_RETURN(const Value value, FindArray(key));
  if (value.element != GgufType::kString && value.count > 0) return Mismatch(key, "an array of strings");
  std::vector<std::string_view> strings;
  strings.reserve(value.count);
  const char* at = At(value);
  for (uint64_t i = 0; i < value.count; ++i) strings.push_back(LoadString(at));
  return strings;
}

Result<std::vector<int64_t>> GgufMetadata::Ints(std::string_view key) const {
  QUIRE_ASSIGN_OR_RETURN(const Value value, FindArray(key));
  std::vector<int64_t> integers;
  const uint64_t bytes = TypeBytes(value.element);
  if (bytes == 0 && value.count > 0) return Mismatch(key, "an array of integers");
  integers.reserve(value.count);
  for (uint64_t i = 0; i < value.count; ++i) {
    const std::optional<int64_t> integer = LoadInt(value.element, At(value) + i * bytes);
    if (!integer) return Mismatch(key, "an array of integers of at most 63 bits");
    integers.push_back(*integer);
  }
  return integers;
}

Result<std::vector<double>> GgufMetadata::Floats(std::string_view key) const {
  QUIRE_ASSIGN_OR_RETURN(const Value value, FindArray(key));
  std::vector<double> numbers;
  const uint64_t bytes = TypeBytes(value.element);
  if (bytes == 0 && value.count > 0) return Mismatch(key, "an array of numbers");
  numbers.reserve(value.count);
  for (uint64_t i = 0; i < value.count; ++i) {
    const std::optional<double> number = LoadFloat(value.element, At(value) + i * bytes);
    if (!number) return Mismatch(key, "an array of numbers");
    numbers.push_back(*number);
  }
  return numbers;
}

Result<std::vector<bool>> GgufMetadata::Bools(std::string_view key) const {
  QUIRE_ASSIGN_OR_RETURN(const Value value, FindArray(key));
  if (value.element != GgufType::kBool && value.count > 0) return Mismatch(key, "an array of bools");
  std::vector<bool> bools;
  bools.reserve(value.count);
  for (uint64_t i = 0; i < value.count; ++i) bools.push_back(At(value)[i] != 0);
  return bools;
}

Result<std::string_view> GgufMetadata::StringOr(std::string_view key, std::string_view fallback) const {
  if (!Has(key)) return fallback;
  return String(key);
}

Result<int64_t> GgufMetadata::IntOr(std::string_view key, int64_t fallback, int64_t min, int64_t max) const {
  if (!Has(key)) return fallback;
  return Int(key, min, max);
}

Result<double> GgufMetadata::FloatOr(std::string_view key, double fallback) const {
  if (!Has(key)) return fallback;
  return Float(key);
}

Result<bool> GgufMetadata::BoolOr(std::string_view key, bool fallback) const {
  if (!Has(key)) return fallback;
  return Bool(key);
}

}  // namespace quire
