#include "llm/gguf_to_checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/error.h"
#include "llm/model_text.h"
#include "model/arch_spec.h"
#include "model/config_json.h"
#include "model/gguf_config.h"
#include "model/weight_names.h"
#include "text/gguf_tokenizer_json.h"
#include "text/tokenizer.h"
#include "weights/gguf_set.h"
#include "weights/safetensors_writer.h"
#include "weights/stored_tensor.h"
#include "weights/tensor_source.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

// Tensors that say what config.json says, or nothing.
bool IsConstant(std::string_view name) {
  return name.ends_with("rope_freqs.weight") || name.ends_with("attn_rot_embd.weight");
}

class Conversion {
 public:
  Conversion(const std::string& from, const ConvertOptions& options) : from_(from), options_(options) {}

  Status Write(const std::string& to, FunctionRef<void(std::string_view)> show) {
    QUIRE_ASSIGN_OR_RETURN(GgufSet set, GgufSet::Open(from_));
    const GgufMetadata metadata = set.metadata();
    const std::unique_ptr<TensorSource> tensors = MakeGgufSource(std::move(set));
    QUIRE_ASSIGN_OR_RETURN(const ModelConfig config, ReadGgufConfig(metadata, *tensors));
    QUIRE_RETURN_IF_ERROR(OrderGgufRows(*FindArchSpec(config.architecture), config, *tensors));
    QUIRE_ASSIGN_OR_RETURN(const DType dtype, DTypeOf(GgufWeightNames().embedding, *tensors));
    QUIRE_ASSIGN_OR_RETURN(const std::string config_json, ModelConfigJson(config, dtype));
    QUIRE_RETURN_IF_ERROR(Env::Posix().CreateDirectories(to));
    QUIRE_RETURN_IF_ERROR(WriteText(metadata, config, to));
    QUIRE_RETURN_IF_ERROR(
        WriteWeights(*tensors, NamesOf(GgufWeightNames(), FindArchSpec(config.architecture)->names, config.num_layers),
                     JoinPath(to, "model.safetensors"), show));
    QUIRE_RETURN_IF_ERROR(Env::Posix().WriteFile(JoinPath(to, "generation_config.json"), GenerationConfigJson(config)));
    return Env::Posix().WriteFile(JoinPath(to, "config.json"), config_json);
  }

 private:
  Status WriteText(const GgufMetadata& metadata, const ModelConfig& config, const std::string& to) const {
    QUIRE_ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizer(from_));  // says what is wrong with it
    QUIRE_ASSIGN_OR_RETURN(const GgufVocabulary vocabulary, ReadGgufVocabulary(metadata));
    QUIRE_ASSIGN_OR_RETURN(const std::string tokenizer_json, GgufTokenizerJson(vocabulary));
    QUIRE_ASSIGN_OR_RETURN(const auto converted, Tokenizer::FromJson(tokenizer_json));
    QUIRE_RETURN_IF_ERROR(CompareTokenizers(*tokenizer, *converted));
    Result<std::string> chat_template = LoadChatTemplate(from_);
    if (!chat_template.ok() && chat_template.error().code != ErrorCode::kNotFound) return chat_template.error();
    const std::string source = chat_template.ok() ? *std::move(chat_template) : "";
    QUIRE_RETURN_IF_ERROR(Env::Posix().WriteFile(JoinPath(to, "tokenizer.json"), tokenizer_json));
    return Env::Posix().WriteFile(JoinPath(to, "tokenizer_config.json"),
                                  GgufTokenizerConfigJson(vocabulary, source, config.max_position));
  }

  Result<DType> DTypeOf(std::string_view name, const TensorSource& tensors) const {
    QUIRE_ASSIGN_OR_RETURN(const StoredTensor stored, tensors.Find(name, tensors.ShapeOf(name)));
    return DTypeOf(stored);
  }
  DType DTypeOf(const StoredTensor& tensor) const {
    const bool keeps = IsPlain(tensor.format()) && !options_.converts_floats;
    return keeps ? tensor.dtype() : options_.dtype;
  }

  Status WriteWeights(const TensorSource& tensors, const std::vector<WeightName>& names, const std::string& path,
                      FunctionRef<void(std::string_view)> show) const {
    std::vector<WeightName> present;
    std::vector<NewTensor> promised;
    for (const WeightName& name : names) {
      if (!tensors.Has(name.from)) continue;
      const std::vector<int64_t> shape = tensors.ShapeOf(name.from);
      QUIRE_ASSIGN_OR_RETURN(const StoredTensor stored, tensors.Find(name.from, shape));
      const DType dtype = DTypeOf(stored);
      present.push_back(name);
      promised.push_back({.name = name.to,
                          .dtype = dtype == DType::kF32    ? "F32"
                                   : dtype == DType::kBf16 ? "BF16"
                                                           : "F16",
                          .shape = shape,
                          .bytes = static_cast<uint64_t>(stored.size()) * DTypeSize(dtype)});
    }
    QUIRE_RETURN_IF_ERROR(CheckAllAreNamed(tensors, present));
    QUIRE_ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(path, std::move(promised), false));
    for (const WeightName& name : present) {
      QUIRE_ASSIGN_OR_RETURN(const StoredTensor stored, tensors.Find(name.from, tensors.ShapeOf(name.from)));
      QUIRE_RETURN_IF_ERROR(CopyTensor(stored, DTypeOf(stored), writer));
      show(name.to);
    }
    QUIRE_RETURN_IF_ERROR(tensors.CheckUnchanged());
    return writer.Finish();
  }

  // A tensor without a place would be lost without a word.
  Status CheckAllAreNamed(const TensorSource& tensors, const std::vector<WeightName>& present) const {
    std::set<std::string_view> named;
    for (const WeightName& tensor : present) named.insert(tensor.from);
    for (const std::string& name : tensors.names()) {
      if (named.count(name) > 0 || IsConstant(name)) continue;
      return Unimplemented("{}: tensor {} has no place in a checkpoint of this family", from_, PrintableName(name));
    }
    return {};
  }

  static Status CopyTensor(const StoredTensor& stored, DType dtype, SafetensorsWriter& writer) {
    const int64_t unit = stored.unit(), piece = (int64_t{1} << 20) / unit * unit;
    const size_t element = DTypeSize(dtype);
    std::vector<std::byte> bytes(static_cast<size_t>(std::min(piece, stored.size())) * element);
    for (int64_t first = 0; first < stored.size(); first += piece) {
      const int64_t count = std::min(piece, stored.size() - first);
      QUIRE_RETURN_IF_ERROR(ReadAs(stored, first, count, dtype, bytes.data()));
      QUIRE_RETURN_IF_ERROR(writer.Append(std::span(bytes).first(static_cast<size_t>(count) * element)));
    }
    return {};
  }

  const std::string& from_;
  const ConvertOptions& options_;
};

}  // namespace

Status GgufToCheckpoint(const std::string& from, const std::string& to, const ConvertOptions& options,
                        FunctionRef<void(std::string_view tensor)> show) {
  if (Env::Posix().Exists(to)) return InvalidArgument("{} is there already: choose another name, or remove it", to);
  Status status = Conversion(from, options).Write(to, show);
  if (!status.ok()) {
    std::error_code error;
    std::filesystem::remove_all(to, error);
  }
  return status;
}

}  // namespace quire
