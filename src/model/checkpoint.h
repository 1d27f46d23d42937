// Checkpoint: the tensors of a Hugging Face directory by name, whether in one model.safetensors or in shards with a
// model.safetensors.index.json. Tensors are views of mapped files: they are read while weights are packed, and never
// computed on. Errors name the file and the tensor. One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/safetensors.h"
#include "quire/result.h"
#include "tensor/buffer.h"
#include "tensor/tensor.h"

namespace quire {

class Checkpoint {
 public:
  // Reads and checks all headers, no data.
  static Result<Checkpoint> Open(const std::string& directory);

  bool Has(std::string_view name) const { return places_.find(name) != places_.end(); }
  size_t num_tensors() const { return places_.size(); }
  // In order of the names.
  std::vector<std::string> names() const;

  // A read-only view, valid as long as the checkpoint. It must be a float tensor (F32, BF16, F16) of that shape.
  Result<Tensor> Find(std::string_view name, std::span<const int64_t> shape);
  // The type of that tensor, after the same checks; touches no data.
  Result<DType> FindDType(std::string_view name, std::span<const int64_t> shape) const;

 private:
  struct Place {
    const SafetensorsEntry* entry;  // in a file's map: those never move
    std::string file;
  };

  Checkpoint() = default;
  static Result<Checkpoint> OpenSharded(const std::string& directory, const std::string& index_path);
  Result<const SafetensorsEntry*> FindFloats(std::string_view name, std::span<const int64_t> shape) const;

  std::string directory_;
  std::map<std::string, SafetensorsFile, std::less<>> files_;  // by name in the directory
  std::map<std::string, Place, std::less<>> places_;
  std::vector<Buffer> aligned_copies_;  // of tensors that lie at odd addresses in their file
};

}  // namespace quire
