// SafetensorsFile: an open file in the safetensors format, its header checked before anything is believed: eight bytes
// of header length (little-endian), a JSON object of {dtype, shape, data_offsets} per name, then the data, which the
// tensors cover without holes or overlaps. https://github.com/huggingface/safetensors
//
// Errors name the file and the tensor. Const after Open; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/readable_file.h"
#include "quire/result.h"
#include "tensor/dtype.h"

namespace quire {

struct SafetensorsEntry {
  std::string dtype_name;      // "BF16", "I64", ...
  std::optional<DType> dtype;  // none: a storage type that has no DType here
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // of its data in the file
  uint64_t bytes = 0;
};

class SafetensorsFile {
 public:
  static Result<SafetensorsFile> Open(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const ReadableFile& file() const { return file_; }
  const std::map<std::string, SafetensorsEntry, std::less<>>& entries() const { return entries_; }
  // nullptr if there is none.
  const SafetensorsEntry* Find(std::string_view name) const;

 private:
  explicit SafetensorsFile(ReadableFile file) : file_(std::move(file)) {}
  Status ParseHeader();

  ReadableFile file_;
  std::map<std::string, SafetensorsEntry, std::less<>> entries_;
};

}  // namespace quire
