// Checkpoint: the tensors of a Hugging Face directory by name, in whichever of its files they are: found in
// headers, and read in parts while weights are packed. Errors name the file and the tensor. Const once it is open: then
// any thread.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quire/result.h"
#include "tensor/dtype.h"
#include "weights/safetensors.h"

namespace quire {

// A float tensor (F32, BF16, F16, or F64, which is narrowed to F32) of a file that stays open as long as the
// checkpoint.
class StoredTensor {
 public:
  StoredTensor(const ReadableFile& file, const SafetensorsEntry& entry);

  DType dtype() const { return dtype_; }  // of what Read gives
  int64_t size() const { return size_; }  // elements
  // Elements [first, first + count), which take count * DTypeSize(dtype()) bytes.
  Status Read(int64_t first, int64_t count, void* to) const;

 private:
  const ReadableFile* file_;
  uint64_t offset_;
  DType dtype_;
  bool is_double_;
  int64_t size_;
};

// The same as float32, exactly.
Status ReadFloats(const StoredTensor& tensor, int64_t first, std::span<float> to);

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

  // It must be a float tensor of that shape. Touches no data.
  Result<StoredTensor> Find(std::string_view name, std::span<const int64_t> shape) const;
  // The type of that tensor, after the same checks; touches no data.
  Result<DType> FindDType(std::string_view name, std::span<const int64_t> shape) const;

 private:
  struct Place {
    const SafetensorsEntry* entry;  // in a file's map: those never move
    std::string file;
  };

  Checkpoint() = default;
  Result<const Place*> FindFloats(std::string_view name, std::span<const int64_t> shape) const;
  Error Missing(std::string_view name, std::span<const int64_t> shape) const;

  std::string directory_;
  std::map<std::string, SafetensorsFile, std::less<>> files_;  // by name in the directory
  std::map<std::string, Place, std::less<>> places_;
  std::map<std::string, std::string, std::less<>> index_;  // what the index says: for messages
};

}  // namespace quire
