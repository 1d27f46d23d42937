// Writes a GGUF file, version 3: metadata and the list of tensors first, then their bytes in that order. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/new_file.h"
#include "quire/result.h"
#include "tensor/weight_format.h"
#include "weights/gguf_metadata.h"

namespace quire {

// Keys and values as they stand in a file.
class GgufPairs {
 public:
  void AddUint32(std::string_view key, uint32_t value);
  void AddFloat32(std::string_view key, float value);
  void AddBool(std::string_view key, bool value);
  void AddString(std::string_view key, std::string_view text);
  void AddStrings(std::string_view key, std::span<const std::string> texts);
  void AddInt32s(std::string_view key, std::span<const int32_t> values);
  void AddFloat32s(std::string_view key, std::span<const float> values);
  // As the other file has it. REQUIRES: it has it.
  void Copy(const GgufMetadata& from, std::string_view key);

  uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void Begin(std::string_view key, GgufType type);
  void BeginArray(std::string_view key, GgufType element, size_t count);

  std::string bytes_;
  uint64_t count_ = 0;
};

struct NewGgufTensor {
  std::string name;
  std::vector<int64_t> shape;  // the slowest dimension first; the last is whole blocks
  WeightKind kind = WeightKind::kF32;

  uint64_t bytes() const;
};

// What stands before the data.
std::string GgufHead(const GgufPairs& pairs, std::span<const NewGgufTensor> tensors);

class GgufWriter {
 public:
  // The file gets its name at the end; `replaces` as NewFile. `pairs` have no general.alignment: it is the usual one.
  static Result<GgufWriter> Create(const std::string& path, const GgufPairs& pairs,
                                   std::span<const NewGgufTensor> tensors, bool replaces);

  // The next tensor's bytes, all of them.
  Status AppendTensor(std::span<const std::byte> bytes);
  // REQUIRES: all bytes that were promised have come.
  Status Finish();

 private:
  GgufWriter(NewFile file, uint64_t bytes_left) : file_(std::move(file)), bytes_left_(bytes_left) {}

  NewFile file_;
  uint64_t bytes_left_;  // with what tensors are rounded up to
};

}  // namespace quire
