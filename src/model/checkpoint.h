// Checkpoint: the tensors of a Hugging Face directory by name, in whichever of its files they are. Tensors are views of
// mapped files: they are read while weights are packed, and never computed on. Errors name the file and the tensor. One
// thread at a time.
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
  // The index names a file for it, although no file holds it.
  bool IsMissing(std::string_view name) const { return !Has(name) && index_.find(name) != index_.end(); }
  size_t num_tensors() const { return places_.size(); }
  // In order of the names.
  std::vector<std::string> names() const;

  // A model saved without its head has names without the prefix: they get it. `witness`: a name, with the prefix, that
  // every model has.
  void AddMissingPrefix(std::string_view prefix, std::string_view witness);

  // REQUIRES: `name` is there. `alias` becomes another name of the same tensor.
  void AddAlias(const std::string& alias, std::string_view name);

  // A read-only view, valid as long as the checkpoint. It must be a float tensor (F32, BF16, F16, or F64, which is
  // narrowed to F32) of that shape.
  Result<Tensor> Find(std::string_view name, std::span<const int64_t> shape);
  // The type of that tensor, after the same checks; touches no data.
  Result<DType> FindDType(std::string_view name, std::span<const int64_t> shape) const;

 private:
  struct Place {
    const SafetensorsEntry* entry;  // in a file's map: those never move
    std::string file;
  };

  Checkpoint() = default;
  Result<const SafetensorsEntry*> FindFloats(std::string_view name, std::span<const int64_t> shape) const;
  Error Missing(std::string_view name, std::span<const int64_t> shape) const;
  Result<Tensor> Narrowed(const SafetensorsEntry& entry);

  std::string directory_;
  std::map<std::string, SafetensorsFile, std::less<>> files_;  // by name in the directory
  std::map<std::string, Place, std::less<>> places_;
  std::map<std::string, std::string, std::less<>> index_;  // what the index says: for messages
  std::vector<Buffer> copies_;                             // of tensors that cannot be used where they lie
};

}  // namespace quire
