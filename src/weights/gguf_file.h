// GgufFile: an open GGUF file (version 2 or 3, little-endian): a magic, counts, metadata, a list of tensors, and behind
// them the tensors' data at aligned offsets. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
// Its whole head is checked against the file's size before anything is believed; data is read by whoever wants it.
//
// Errors name the file and the key or tensor. Const after Open; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/readable_file.h"
#include "quire/result.h"
#include "weights/gguf_metadata.h"
#include "weights/gguf_types.h"

namespace quire {

struct GgufTensor {
  const GgufTensorType* type = nullptr;
  // The slowest dimension first, as everywhere here: [rows, columns]. (The file has the fastest first.) The last one is
  // whole blocks.
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // of its data in the file
  uint64_t bytes = 0;
};

class GgufFile {
 public:
  static Result<GgufFile> Open(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const ReadableFile& file() const { return file_; }
  uint32_t version() const { return version_; }
  const GgufMetadata& metadata() const { return metadata_; }
  const std::map<std::string, GgufTensor, std::less<>>& tensors() const { return tensors_; }

 private:
  explicit GgufFile(ReadableFile file) : file_(std::move(file)) {}
  Status ParseHead();
  Status CheckMagic() const;
  Result<GgufTensor> ReadTensor(GgufReader& reader, std::string_view what) const;
  Status PlaceTensors(uint64_t head_bytes);

  ReadableFile file_;
  uint32_t version_ = 0;
  GgufMetadata metadata_;
  std::map<std::string, GgufTensor, std::less<>> tensors_;
};

}  // namespace quire
