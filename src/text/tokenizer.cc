#include "text/tokenizer.h"

#include <filesystem>
#include <utility>

#include "base/error.h"
#include "base/foreign_file.h"
#include "text/gguf_tokenizer.h"
#include "text/json_file.h"
#include "text/tokenizer_pipeline.h"
#include "text/tokenizer_settings.h"

namespace quire {
namespace {

bool Exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

Error NoTokenizerJson(const std::filesystem::path& directory) {
  const std::string expected = (directory / "tokenizer.json").string();
  if (const std::string link = DanglingLink(expected); !link.empty()) return NotFound("{}: {}", expected, link);
  if (Exists(directory / "tokenizer.model")) {
    return NotFound(
        "{} is missing, and tokenizer.model alone is not supported: convert it with Transformers "
        "(AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR))",
        expected);
  }
  return NotFound("{} is missing: a checkpoint directory must hold its tokenizer in this file", expected);
}

// Empty if it does not pad.
Result<std::string> PaddingToken(const text::JsonNode& tokenizer) {
  const std::optional<text::JsonNode> padding = tokenizer.Find("padding");
  return padding ? padding->StringOr("pad_token", "") : std::string();
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& directory) {
  const std::filesystem::path base(directory);
  const std::string path = (base / "tokenizer.json").string();
  if (!Exists(path)) return NoTokenizerJson(base);
  QUIRE_ASSIGN_OR_RETURN(const text::JsonFile file, text::JsonFile::Open(path));
  const Result<std::string> padding_token = PaddingToken(file.root());
  if (!padding_token.ok()) return file.Named(padding_token.error());
  QUIRE_ASSIGN_OR_RETURN(const text::TokenizerSettings settings,
                         text::ReadTokenizerSettings(directory, *padding_token));
  Result<std::unique_ptr<Tokenizer>> tokenizer = text::TokenizerPipeline::Build(file.root(), settings);
  if (!tokenizer.ok()) return file.Named(tokenizer.error());
  return tokenizer;
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(std::string_view tokenizer_json) {
  const auto named = [](Error error) {
    error.message = "tokenizer.json: " + error.message;
    return error;
  };
  Result<text::JsonDocument> document = text::JsonDocument::Parse(tokenizer_json);
  if (!document.ok()) return named(document.error());
  Result<std::unique_ptr<Tokenizer>> tokenizer = text::TokenizerPipeline::Build(document->root(), {});
  if (!tokenizer.ok()) return named(tokenizer.error());
  return tokenizer;
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromGguf(const GgufVocabulary& vocabulary) {
  return text::BuildGgufTokenizer(vocabulary);
}

}  // namespace quire
