// A GGUF file: its head, every tensor decoded, the config it gives, the rows it has in pairs, and its tokenizer.
#include "fuzz_files.h"
#include "fuzz_tensors.h"
#include "fuzz_text.h"
#include "llm/model_text.h"
#include "model/arch_spec.h"
#include "model/gguf_config.h"

namespace quire::testing {
namespace {

void ReadModel(const GgufMetadata& metadata, TensorSource& source) {
  const Result<ModelConfig> config = ReadGgufConfig(metadata, source);
  if (!config.ok()) return;
  static_cast<void>(LayerWindows(*config));
  static_cast<void>(LongestContext(*config));
  const ArchSpec* spec = FindArchSpec(config->architecture);
  QUIRE_CHECK(spec != nullptr);
  if (OrderGgufRows(*spec, *config, source).ok()) ReadEveryTensor(source);
}

void ReadText(const GgufMetadata& metadata) {
  const Result<GgufVocabulary> vocabulary = ReadGgufVocabulary(metadata);
  if (!vocabulary.ok()) return;
  const auto tokenizer = Tokenizer::FromGguf(*vocabulary);
  if (tokenizer.ok()) CheckTokenizer(**tokenizer, vocabulary->tokens.back());
}

void ReadGguf(const std::string& path) {
  Result<GgufSet> set = GgufSet::Open(path);
  if (!set.ok()) return;
  const GgufMetadata metadata = set->metadata();
  const std::unique_ptr<TensorSource> source = MakeGgufSource(*std::move(set));
  ReadEveryTensor(*source);
  ReadModel(metadata, *source);
  ReadText(metadata);
  static_cast<void>(LoadChatTemplate(path, true));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static MemoryDirectory directory{"model.gguf"};
  directory.Write({TextOf(data, size)});
  ReadGguf(directory.path() + "/model.gguf");
  return 0;
}

}  // namespace quire::testing
