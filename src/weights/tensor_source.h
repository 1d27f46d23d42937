// TensorSource: the tensors of a model by name, in whichever of its files they are and whichever kind of file these
// are: found in headers, and read in parts while weights are packed. Errors name the file and the tensor. Const once it
// is set up: then any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/readable_file.h"
#include "quire/result.h"
#include "weights/gguf_set.h"
#include "weights/quantized/quantized_tensors.h"
#include "weights/stored_tensor.h"

namespace quire {

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  TensorSource(const TensorSource&) = delete;
  TensorSource& operator=(const TensorSource&) = delete;

  bool Has(std::string_view name) const { return entries_.find(name) != entries_.end(); }
  size_t num_tensors() const { return entries_.size(); }
  // How the model was quantised, by the name of the method ("gptq", "gguf"); empty if nothing says that it was.
  virtual std::string_view quantization() const { return ""; }
  // In order.
  std::vector<std::string> names() const;
  // Of floats, in whichever format: what Find gives. False: of integers or the like, or not there.
  bool IsFloat(std::string_view name) const;
  // Of the tensor as it is stored; empty if there is none.
  std::vector<int64_t> ShapeOf(std::string_view name) const;
  // It is said to be somewhere, although no file holds it.
  virtual bool IsMissing(std::string_view /*name*/) const { return false; }

  // It must be a tensor of floats, of that shape. Touches no data.
  Result<StoredTensor> Find(std::string_view name, std::span<const int64_t> shape) const;

  // Behind all reading: an error if a file was written to meanwhile.
  Status CheckUnchanged() const;

  // A model saved without its head has names without the prefix: they get it. `witness`: a name, with the prefix, that
  // every model has.
  void AddMissingPrefix(std::string_view prefix, std::string_view witness);
  // REQUIRES: `name` is there. `alias` becomes another name of the same tensor.
  void AddAlias(const std::string& alias, std::string_view name);
  // The rows of `name`, if it is there, are those of that many heads, stored in pairs (PairedRows): they are put in
  // order while they are read.
  Status OrderPairedRows(std::string_view name, int64_t num_heads);

 protected:
  struct Entry {
    const ReadableFile* file = nullptr;
    const WeightFormat* format = nullptr;  // nullptr: not floats
    std::string_view type_name;            // as the file calls it; lives as long as the source
    std::vector<int64_t> shape;
    uint64_t offset = 0;  // of its data in the file
    PairedRows paired;
    std::shared_ptr<const QuantizedTensor> quantized;  // instead of a place in one file
  };

  // `where`: the model, for messages; `config`: what its shapes are asked for by.
  TensorSource(std::string where, std::string_view config) : where_(std::move(where)), config_(config) {}

  const std::string& where() const { return where_; }
  void Put(std::string_view name, Entry entry) { entries_.insert_or_assign(std::string(name), std::move(entry)); }
  void Remove(std::string_view name) {
    if (const auto it = entries_.find(name); it != entries_.end()) entries_.erase(it);
  }
  // Why a tensor may be missing, behind the message that says so; empty if nothing is known.
  virtual std::string HintOfMissing(std::string_view /*name*/) const { return ""; }
  virtual std::string_view SupportedTypes() const = 0;

 private:
  std::string where_;
  std::string_view config_;
  std::map<std::string, Entry, std::less<>> entries_;
};

// Of a Hugging Face directory: of its *.safetensors. Reads and checks all headers, no data.
Result<std::unique_ptr<TensorSource>> OpenSafetensors(const std::string& directory);

// Of GGUF files, under their own names.
std::unique_ptr<TensorSource> MakeGgufSource(GgufSet set);

}  // namespace quire
