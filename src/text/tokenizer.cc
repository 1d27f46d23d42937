#include "text/tokenizer.h"

#include <filesystem>
#include <utility>

#include "base/error.h"
#include "base/mapped_file.h"
#include "text/json_node.h"
#include "text/tokenizer_pipeline.h"

namespace quire {
namespace {

Error InFile(const std::string& file, Error error) {
  error.message = fmt::format("{}: {}", file, error.message);
  return error;
}

Result<text::JsonDocument> ReadJson(const std::string& path) {
  QUIRE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const std::span<const std::byte> bytes = file.bytes();
  Result<text::JsonDocument> document =
      text::JsonDocument::Parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!document.ok()) return InFile(path, document.error());
  return document;
}

bool Exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

Error NoTokenizerJson(const std::filesystem::path& directory) {
  const std::string expected = (directory / "tokenizer.json").string();
  if (Exists(directory / "tokenizer.model")) {
    return NotFound(
        "{} is missing, and tokenizer.model alone is not supported: convert it with Transformers "
        "(AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR))",
        expected);
  }
  return NotFound("{} is missing: a checkpoint directory must hold its tokenizer in this file", expected);
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& directory) {
  const std::filesystem::path base(directory);
  const std::string path = (base / "tokenizer.json").string();
  const std::string config_path = (base / "tokenizer_config.json").string();
  if (!Exists(path)) return NoTokenizerJson(base);
  QUIRE_ASSIGN_OR_RETURN(const text::JsonDocument document, ReadJson(path));
  const text::JsonNode root = document.root();
  std::optional<text::JsonDocument> config;
  if (Exists(config_path)) {
    QUIRE_ASSIGN_OR_RETURN(config, ReadJson(config_path));
  }
  std::optional<text::JsonNode> config_root;
  if (config) config_root = config->root();
  Result<std::unique_ptr<Tokenizer>> tokenizer =
      text::TokenizerPipeline::Build(root, config_root ? &*config_root : nullptr);
  if (!tokenizer.ok()) return InFile(path, tokenizer.error());
  return tokenizer;
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(std::string_view tokenizer_json) {
  Result<text::JsonDocument> document = text::JsonDocument::Parse(tokenizer_json);
  if (!document.ok()) return InFile("tokenizer.json", document.error());
  Result<std::unique_ptr<Tokenizer>> tokenizer = text::TokenizerPipeline::Build(document->root(), nullptr);
  if (!tokenizer.ok()) return InFile("tokenizer.json", tokenizer.error());
  return tokenizer;
}

}  // namespace quire
