// GgufBuilder: the bytes of a GGUF file made by hand, for tests. MemoryFile: a file that is opened by a path and never
// on a disk, for tests that write thousands.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "weights/gguf_metadata.h"

namespace quire::testing {

class GgufBuilder {
 public:
  uint32_t version = 3;
  uint64_t alignment = 32;  // of the data; a key of its own says it unless it is 32

  template <typename T>
  static std::string Bytes(T value) {
    std::string bytes(sizeof(T), '\0');
    std::memcpy(bytes.data(), &value, sizeof(T));
    return bytes;
  }
  static std::string Text(std::string_view text) { return Bytes<uint64_t>(text.size()) + std::string(text); }

  // `value`: its bytes.
  GgufBuilder& Add(std::string_view key, GgufType type, const std::string& value) {
    pairs_ += Text(key) + Bytes(type) + value;
    ++num_pairs_;
    return *this;
  }
  GgufBuilder& AddString(std::string_view key, std::string_view text) {
    return Add(key, GgufType::kString, Text(text));
  }
  GgufBuilder& AddUint(std::string_view key, uint32_t value) { return Add(key, GgufType::kUint32, Bytes(value)); }
  GgufBuilder& AddFloat(std::string_view key, float value) { return Add(key, GgufType::kFloat32, Bytes(value)); }
  GgufBuilder& AddBool(std::string_view key, bool value) {
    return Add(key, GgufType::kBool, Bytes<uint8_t>(value ? 1 : 0));
  }
  GgufBuilder& AddArray(std::string_view key, GgufType element, uint64_t count, const std::string& values) {
    return Add(key, GgufType::kArray, Bytes(element) + Bytes(count) + values);
  }
  GgufBuilder& AddStrings(std::string_view key, const std::vector<std::string>& texts) {
    std::string values;
    for (const std::string& text : texts) values += Text(text);
    return AddArray(key, GgufType::kString, texts.size(), values);
  }

  // `shape`: the slowest dimension first; `type`: its number.
  GgufBuilder& AddTensor(std::string_view name, const std::vector<int64_t>& shape, uint32_t type,
                         const std::string& data) {
    data_.resize(Aligned(data_.size()));
    infos_ += Text(name) + Bytes(static_cast<uint32_t>(shape.size()));
    for (auto dim = shape.rbegin(); dim != shape.rend(); ++dim) infos_ += Bytes(*dim);
    infos_ += Bytes(type) + Bytes<uint64_t>(data_.size());
    data_ += data;
    ++num_tensors_;
    return *this;
  }

  std::string Build() const {
    GgufBuilder whole = *this;
    if (alignment != 32) whole.AddUint("general.alignment", static_cast<uint32_t>(alignment));
    std::string bytes = "GGUF" + Bytes(version) + Bytes(num_tensors_) + Bytes(whole.num_pairs_) + whole.pairs_ + infos_;
    bytes.resize(Aligned(bytes.size()));
    return bytes + data_;
  }

 private:
  size_t Aligned(size_t size) const { return (size + alignment - 1) / alignment * alignment; }

  std::string pairs_, infos_, data_;
  uint64_t num_pairs_ = 0, num_tensors_ = 0;
};

class MemoryFile {
 public:
  MemoryFile() : file_(memfd_create("quire-test", MFD_CLOEXEC)) { QUIRE_CHECK(file_ >= 0); }
  ~MemoryFile() { close(file_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  void Write(const std::string& bytes) const {
    QUIRE_CHECK(ftruncate(file_, 0) == 0);
    QUIRE_CHECK(pwrite(file_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(file_); }

 private:
  int file_;
};

}  // namespace quire::testing
