// GgufSet: the GGUF files of one model: a single one, or the parts that it was split into, named
// NAME-00001-of-00003.gguf and so on. The first part has the metadata; each has some of the tensors.
// Const after Open; any thread.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "quire/result.h"
#include "weights/gguf_file.h"

namespace quire {

class GgufSet {
 public:
  struct Place {
    const GgufFile* file = nullptr;
    const GgufTensor* tensor = nullptr;
  };

  // `path`: the file, or any part. All parts must be there; errors name the one that is missing or does not belong.
  static Result<GgufSet> Open(const std::string& path);

  // Of the first part.
  const GgufMetadata& metadata() const { return files_.front().metadata(); }
  const std::vector<GgufFile>& files() const { return files_; }
  // Of all parts.
  const std::map<std::string, Place, std::less<>>& tensors() const { return tensors_; }

 private:
  Status AddTensors();

  std::vector<GgufFile> files_;  // of a size that no longer changes once tensors_ points into it
  std::map<std::string, Place, std::less<>> tensors_;
};

// The GGUF file of a directory: the only one, or the first part of the only split one; projectors of images
// (mmproj-*.gguf) do not count. Empty: there is none. Several are an error that lists them.
Result<std::string> FindGgufFile(const std::string& directory);

}  // namespace quire
