#include "weights/safetensors.h"

#include <simdjson.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/foreign_file.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr size_t kMaxRank = 16;
constexpr size_t kHeadBytes = 512;  // enough to recognise another format

struct StorageType {
  std::string_view name;
  uint64_t bits;
  std::optional<DType> dtype;
};

constexpr StorageType kStorageTypes[] = {
    {"F32", 32, DType::kF32},  {"BF16", 16, DType::kBf16},   {"F16", 16, DType::kF16},     {"I32", 32, DType::kI32},
    {"I64", 64, DType::kI64},  {"U8", 8, DType::kU8},        {"I8", 8, DType::kI8},        {"BOOL", 8, std::nullopt},
    {"F64", 64, std::nullopt}, {"U64", 64, std::nullopt},    {"U32", 32, std::nullopt},    {"I16", 16, std::nullopt},
    {"U16", 16, std::nullopt}, {"F8_E5M2", 8, std::nullopt}, {"F8_E4M3", 8, std::nullopt}, {"F8_E8M0", 8, std::nullopt},
    {"F4", 4, std::nullopt},   {"F6_E2M3", 6, std::nullopt}, {"F6_E3M2", 6, std::nullopt}, {"C64", 64, std::nullopt},
};

const StorageType* FindStorageType(std::string_view name) {
  for (const StorageType& type : kStorageTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

uint64_t ReadLittleEndian64(const std::byte* bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | std::to_integer<uint64_t>(bytes[i]);
  return value;
}

// Product of the shape and the element size; none if it does not fit or is not whole bytes.
std::optional<uint64_t> StorageBytes(std::span<const int64_t> shape, uint64_t bits) {
  uint64_t total = bits;
  for (const int64_t dim : shape) {
    if (__builtin_mul_overflow(total, static_cast<uint64_t>(dim), &total)) return std::nullopt;
  }
  if (total % 8 != 0) return std::nullopt;
  return total / 8;
}

// One "name": {...} of the header, with its place in the data section.
struct HeaderEntry {
  SafetensorsEntry entry;
  uint64_t begin = 0;
  uint64_t end = 0;
};

using simdjson::dom::element;
using simdjson::dom::object;

class HeaderReader {
 public:
  HeaderReader(const std::string& path, std::string_view name, uint64_t data_bytes)
      : path_(path), name_(name), data_bytes_(data_bytes) {}

  Result<HeaderEntry> Read(const element& value) const {
    object fields;
    if (value.get_object().get(fields) != simdjson::SUCCESS) return Bad("its entry is not an object");
    HeaderEntry header;
    QUIRE_RETURN_IF_ERROR(ReadShape(fields, header.entry.shape));
    QUIRE_RETURN_IF_ERROR(ReadOffsets(fields, header));
    QUIRE_RETURN_IF_ERROR(ReadDType(fields, header));
    return header;
  }

 private:
  Error Bad(std::string_view problem) const {
    return DataLoss("{}: tensor {}: {}", path_, PrintableName(name_), problem);
  }

  Status ReadShape(const object& fields, std::vector<int64_t>& shape) const {
    simdjson::dom::array dims;
    if (fields["shape"].get_array().get(dims) != simdjson::SUCCESS) return Bad("shape is missing or not a list");
    for (const element dim : dims) {
      int64_t size = 0;
      if (dim.get_int64().get(size) != simdjson::SUCCESS || size < 0) {
        return Bad("shape holds something else than non-negative integers");
      }
      shape.push_back(size);
    }
    if (shape.size() > kMaxRank) return Bad(fmt::format("shape has {} dimensions", shape.size()));
    return {};
  }

  Status ReadOffsets(const object& fields, HeaderEntry& header) const {
    simdjson::dom::array offsets;
    const bool is_pair = fields["data_offsets"].get_array().get(offsets) == simdjson::SUCCESS && offsets.size() == 2 &&
                         offsets.at(0).get_uint64().get(header.begin) == simdjson::SUCCESS &&
                         offsets.at(1).get_uint64().get(header.end) == simdjson::SUCCESS;
    if (!is_pair) return Bad("data_offsets is missing or not two non-negative integers");
    if (header.begin > header.end) {
      return Bad(fmt::format("data_offsets [{}, {}] run backwards", header.begin, header.end));
    }
    if (header.end > data_bytes_) {
      return Bad(
          fmt::format("data_offsets [{}, {}] reach beyond the {} bytes of data that the file has: it is "
                      "truncated or damaged",
                      header.begin, header.end, data_bytes_));
    }
    return {};
  }

  Status ReadDType(const object& fields, HeaderEntry& header) const {
    std::string_view name;
    if (fields["dtype"].get_string().get(name) != simdjson::SUCCESS) return Bad("dtype is missing or not a string");
    header.entry.dtype_name = name;
    const StorageType* type = FindStorageType(name);
    if (type == nullptr) return {};  // of a newer writer: no matter unless somebody asks for the tensor
    const auto bytes = StorageBytes(header.entry.shape, type->bits);
    if (!bytes || *bytes != header.end - header.begin) {
      return Bad(fmt::format("{} of shape {} does not take the {} bytes of data_offsets [{}, {}]", name,
                             ShapeText(header.entry.shape), header.end - header.begin, header.begin, header.end));
    }
    header.entry.dtype = type->dtype;
    return {};
  }

  const std::string& path_;
  std::string_view name_;
  uint64_t data_bytes_;
};

// Where each tensor lies, to check that together they cover the data.
struct Extent {
  uint64_t begin;
  uint64_t end;
  std::string_view name;
};

Status CheckCoverage(const std::string& path, std::vector<Extent> extents, uint64_t data_bytes) {
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  uint64_t covered = 0;
  std::string_view previous;
  for (const Extent& extent : extents) {
    if (extent.begin < covered) {
      return DataLoss("{}: tensor {}: its data begins at byte {}, within tensor {}, which ends at {}", path,
                      PrintableName(extent.name), extent.begin, PrintableName(previous), covered);
    }
    if (extent.begin > covered) {
      return DataLoss("{}: tensor {}: its data begins at byte {}, which leaves a hole after {}", path,
                      PrintableName(extent.name), extent.begin, covered);
    }
    covered = extent.end;
    previous = extent.name;
  }
  if (covered != data_bytes) {
    return DataLoss("{}: the tensors end at byte {} of {} bytes of data", path, covered, data_bytes);
  }
  return {};
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  QUIRE_ASSIGN_OR_RETURN(ReadableFile readable, ReadableFile::Open(path));
  SafetensorsFile file(std::move(readable));
  QUIRE_RETURN_IF_ERROR(file.ParseHeader());
  return file;
}

Status SafetensorsFile::ParseHeader() {
  const uint64_t file_bytes = file_.size();
  std::string head(std::min<uint64_t>(file_bytes, kHeadBytes), '\0');
  QUIRE_RETURN_IF_ERROR(file_.Read(0, std::as_writable_bytes(std::span(head))));
  const std::string other = WhatElseItIs(head);
  if (!other.empty()) return DataLoss("{}: {}", path(), other);
  if (file_bytes < kLengthBytes) {
    return DataLoss("{}: {} bytes are too few for a safetensors file", path(), file_bytes);
  }
  const uint64_t header_bytes = ReadLittleEndian64(std::as_bytes(std::span(head)).data());
  if (header_bytes > kMaxHeaderBytes) {
    return DataLoss("{}: not a safetensors file: its header would have {} bytes, over the limit of {}", path(),
                    header_bytes, kMaxHeaderBytes);
  }
  if (header_bytes > file_bytes - kLengthBytes) {
    return DataLoss("{}: truncated: its header has {} bytes, the file only {}", path(), header_bytes,
                    file_bytes - kLengthBytes);
  }
  const uint64_t data_begin = kLengthBytes + header_bytes, data_bytes = file_bytes - data_begin;

  simdjson::dom::parser parser;
  element root;
  object tensors;
  std::string text(header_bytes, '\0');
  QUIRE_RETURN_IF_ERROR(file_.Read(kLengthBytes, std::as_writable_bytes(std::span(text))));
  const simdjson::error_code parsed = parser.parse(text).get(root);
  if (parsed != simdjson::SUCCESS) {
    return DataLoss("{}: its header is not valid JSON: {}", path(), simdjson::error_message(parsed));
  }
  if (root.get_object().get(tensors) != simdjson::SUCCESS) {
    return DataLoss("{}: its header is not a JSON object", path());
  }

  std::vector<Extent> extents;
  for (const auto& [name, value] : tensors) {
    if (name == "__metadata__") continue;
    QUIRE_ASSIGN_OR_RETURN(HeaderEntry header, HeaderReader(path(), name, data_bytes).Read(value));
    header.entry.offset = data_begin + header.begin;
    header.entry.bytes = header.end - header.begin;
    const auto [it, inserted] = entries_.emplace(std::string(name), std::move(header.entry));
    if (!inserted) return DataLoss("{}: tensor {}: it is there twice", path(), PrintableName(name));
    extents.push_back({header.begin, header.end, it->first});
  }
  return CheckCoverage(path(), std::move(extents), data_bytes);
}

const SafetensorsEntry* SafetensorsFile::Find(std::string_view name) const {
  const auto it = entries_.find(name);
  return it == entries_.end() ? nullptr : &it->second;
}

}  // namespace quire
