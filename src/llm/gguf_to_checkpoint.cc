#include "llm/gguf_to_checkpoint.h"

#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/error.h"
#include "llm/model_text.h"
#include "model/arch_spec.h"
#include "model/config_json.h"
#include "model/opened_model.h"
#include "model/weight_names.h"
#include "text/gguf_tokenizer_json.h"
#include "text/tokenizer.h"
#include "weights/gguf_set.h"
#include "weights/safetensors_writer.h"
#include "weights/stored_tensor.h"
#include "weights/tensor_source.h"

namespace quire {
namespace {

class Conversion {
 public:
  Conversion(const std::string& from, const ConvertOptions& options) : from_(from), options_(options) {}

  Status Write(const std::string& to, FunctionRef<void(std::string_view)> show) {
    QUIRE_ASSIGN_OR_RETURN(const OpenedModel model, OpenModel(from_));
    QUIRE_ASSIGN_OR_RETURN(const auto used, FindUsedTensors(from_, model));
    const ModelConfig& config = model.config;
    const TensorSource& tensors = *model.tensors;
    QUIRE_ASSIGN_OR_RETURN(const DType dtype, DTypeOf(model.spec.names.embedding, tensors));
    QUIRE_ASSIGN_OR_RETURN(const std::string config_json, ModelConfigJson(config, dtype));
    QUIRE_RETURN_IF_ERROR(Env::Posix().CreateDirectories(to));
    QUIRE_RETURN_IF_ERROR(WriteText(config, to));
    std::vector<WeightName> names =
        NamesOf(model.spec.names, FindArchSpec(config.architecture)->names, config.num_layers);
    std::erase_if(names, [&](const WeightName& name) { return used.count(name.from) == 0; });
    QUIRE_RETURN_IF_ERROR(WriteWeights(tensors, names, JoinPath(to, "model.safetensors"), show));
    QUIRE_RETURN_IF_ERROR(Env::Posix().WriteFile(JoinPath(to, "generation_config.json"), GenerationConfigJson(config)));
    return Env::Posix().WriteFile(JoinPath(to, "config.json"), config_json);
  }

 private:
  Status WriteText(const ModelConfig& config, const std::string& to) const {
    QUIRE_ASSIGN_OR_RETURN(const GgufSet set, GgufSet::Open(from_));
    QUIRE_ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizer(from_));  // says what is wrong with it
    QUIRE_ASSIGN_OR_RETURN(const GgufVocabulary vocabulary, ReadGgufVocabulary(set.metadata()));
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
    std::vector<NewTensor> promised;
    promised.reserve(names.size());
    for (const WeightName& name : names) {
      const std::vector<int64_t> shape = tensors.ShapeOf(name.from);
      QUIRE_ASSIGN_OR_RETURN(const StoredTensor stored, tensors.Find(name.from, shape));
      promised.push_back(NewFloatTensor(name.to, DTypeOf(stored), shape));
    }
    QUIRE_ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(path, std::move(promised), false));
    for (const WeightName& name : names) {
      QUIRE_ASSIGN_OR_RETURN(const StoredTensor stored, tensors.Find(name.from, tensors.ShapeOf(name.from)));
      QUIRE_RETURN_IF_ERROR(writer.AppendTensor(stored, DTypeOf(stored)));
      show(name.to);
    }
    QUIRE_RETURN_IF_ERROR(tensors.CheckUnchanged());
    return writer.Finish();
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
