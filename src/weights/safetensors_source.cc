// The tensors of a Hugging Face directory.
#include <fmt/format.h>

#include <map>
#include <string>
#include <utility>

#include "base/env.h"
#include "base/foreign_file.h"
#include "weights/checkpoint_files.h"
#include "weights/safetensors.h"
#include "weights/tensor_source.h"

namespace quire {
namespace {

const WeightFormat* FloatFormat(const SafetensorsEntry& entry) {
  if (entry.dtype_name == "F64") return &FormatOf(WeightKind::kF64);
  const bool is_float = entry.dtype == DType::kF32 || entry.dtype == DType::kBf16 || entry.dtype == DType::kF16;
  return is_float ? &FormatOf(*entry.dtype) : nullptr;
}

class SafetensorsSource : public TensorSource {
 public:
  explicit SafetensorsSource(const std::string& directory) : TensorSource(directory, "config.json") {}

  Status Open() {
    QUIRE_ASSIGN_OR_RETURN(CheckpointFiles files, FindCheckpointFiles(where()));
    index_.insert(files.index.begin(), files.index.end());
    StoredParts parts;
    for (const std::string& name : files.names) {
      QUIRE_ASSIGN_OR_RETURN(SafetensorsFile opened, SafetensorsFile::Open(JoinPath(where(), name)));
      const SafetensorsFile& file = files_.emplace(name, std::move(opened)).first->second;
      for (const auto& [tensor, entry] : file.entries()) {
        const auto said = index_.find(tensor);
        // Twice there: the index decides, or else the first.
        if (Has(tensor) && (said == index_.end() || said->second != name)) continue;
        Put(tensor, {.file = &file.file(),
                     .format = FloatFormat(entry),
                     .type_name = entry.dtype_name,
                     .shape = entry.shape,
                     .offset = entry.offset});
        parts.insert_or_assign(tensor, StoredPart{.file = &file.file(),
                                                  .name = tensor,
                                                  .dtype = entry.dtype_name,
                                                  .shape = entry.shape,
                                                  .offset = entry.offset});
      }
    }
    return PutQuantized(parts);
  }

  bool IsMissing(std::string_view name) const override { return !Has(name) && FindInIndex(name) != index_.end(); }
  std::string_view quantization() const override { return quantization_.method_name; }

 private:
  using Index = std::map<std::string, std::string, std::less<>>;

  // Where the index has the tensor, or the codes of which it is made.
  Index::const_iterator FindInIndex(std::string_view name) const {
    for (const std::string& stored : NamesOfCodes(name)) {
      if (const auto it = index_.find(stored); it != index_.end()) return it;
    }
    return index_.end();
  }

  // Quantised weights under the names and shapes that they would have in floats, instead of their parts.
  Status PutQuantized(const StoredParts& parts) {
    QUIRE_ASSIGN_OR_RETURN(quantization_, ReadQuantizationConfig(where()));
    const QuantizedTensors found = FindQuantizedTensors(quantization_, parts);
    for (const std::string& part : found.parts) Remove(part);
    for (const auto& [name, tensor] : found.weights) {
      Put(name, {.file = tensor->file,
                 .format = &tensor->format,
                 .type_name = tensor->format.name,
                 .shape = {tensor->weight.rows, tensor->weight.columns},
                 .quantized = tensor});
    }
    return {};
  }

  std::string HintOfMissing(std::string_view name) const override {
    const auto said = FindInIndex(name);
    if (said != index_.end()) {
      const std::string path = JoinPath(where(), said->second);
      std::string problem = DanglingLink(path);
      if (problem.empty()) {
        problem =
            files_.count(said->second) > 0 ? "but it is not there" : "which is missing: the download is incomplete";
      }
      return fmt::format("; {} says that it is in {}: {}", kIndexFile, said->second, problem);
    }
    if (index_.empty() && !files_.empty() && files_.begin()->first.find("-of-") != std::string::npos) {
      return fmt::format("; there is no {}, and {} of the shards: is the download incomplete?", kIndexFile,
                         files_.size());
    }
    return "";
  }

  std::string_view SupportedTypes() const override {
    return "F32, BF16, F16, F64, and F8_E4M3, F8_E5M2, I8 and U8 with what their quantization_config asks for";
  }

  std::map<std::string, SafetensorsFile, std::less<>> files_;  // by name in the directory; entries point into them
  QuantizationConfig quantization_;
  Index index_;  // what the index says: for messages
};

}  // namespace

Result<std::unique_ptr<TensorSource>> OpenSafetensors(const std::string& directory) {
  auto source = std::make_unique<SafetensorsSource>(directory);
  QUIRE_RETURN_IF_ERROR(source->Open());
  return std::unique_ptr<TensorSource>(std::move(source));
}

}  // namespace quire
