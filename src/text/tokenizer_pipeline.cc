#include "text/tokenizer_pipeline.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/utf8.h"

namespace quire::text {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;

// The classes whose fast tokenizers rebuild the post-processor from add_bos_token and add_eos_token.
bool HonoursBeginAndEnd(std::string_view tokenizer_class) {
  constexpr std::string_view kFamilies[] = {"Llama", "CodeLlama", "Gemma", "Cohere"};
  return std::any_of(std::begin(kFamilies), std::end(kFamilies), [&](std::string_view family) {
    return tokenizer_class.starts_with(family) && tokenizer_class.substr(family.size()).starts_with("Tokenizer");
  });
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> TokenizerPipeline::Build(const JsonNode& root, const JsonNode* config) {
  std::unique_ptr<TokenizerPipeline> pipeline(new TokenizerPipeline);
  QUIRE_RETURN_IF_ERROR(pipeline->ReadParts(root));
  QUIRE_RETURN_IF_ERROR(pipeline->ReadAddedTokens(root, config));
  if (config != nullptr) {
    if (Status status = pipeline->ReadBeginAndEnd(*config); !status.ok()) {
      return Error{status.error().code, "tokenizer_config.json beside it: " + status.error().message};
    }
  }
  return std::unique_ptr<Tokenizer>(std::move(pipeline));
}

Status TokenizerPipeline::ReadParts(const JsonNode& root) {
  if (const std::optional<JsonNode> node = root.Find("normalizer")) {
    QUIRE_ASSIGN_OR_RETURN(normalizers_, ParseNormalizers(*node));
  }
  if (const std::optional<JsonNode> node = root.Find("pre_tokenizer")) {
    QUIRE_ASSIGN_OR_RETURN(pre_tokenizers_, ParsePreTokenizers(*node));
  }
  QUIRE_ASSIGN_OR_RETURN(const JsonNode model, root.Get("model"));
  QUIRE_ASSIGN_OR_RETURN(model_, ParseTokenModel(model, pre_tokenizers_.leaves_bytes));
  if (const std::optional<JsonNode> node = root.Find("post_processor")) {
    QUIRE_ASSIGN_OR_RETURN(templates_, ParsePostProcessors(*node));
  }
  if (const std::optional<JsonNode> node = root.Find("decoder")) {
    QUIRE_ASSIGN_OR_RETURN(decoder_, Decoder::Parse(*node));
  }
  return {};
}

Status TokenizerPipeline::ReadAddedTokens(const JsonNode& root, const JsonNode* config) {
  const auto add = [&](const JsonNode& node) -> Status {
    QUIRE_ASSIGN_OR_RETURN(const AddedToken token, ParseAddedToken(node));
    return added_.Add(token, model_->vocabulary());
  };
  if (const std::optional<JsonNode> tokens = root.Find("added_tokens")) {
    QUIRE_RETURN_IF_ERROR(tokens->ForEachElement(add));
  }
  // Transformers adds what tokenizer.json lacks, in the order of the ids, which is that of the file.
  if (const std::optional<JsonNode> tokens = config ? config->Find("added_tokens_decoder") : std::nullopt) {
    QUIRE_RETURN_IF_ERROR(tokens->ForEachMember([&](std::string_view, const JsonNode& node) { return add(node); }));
  }
  return added_.Finish(normalizers_);
}

Result<std::optional<int32_t>> TokenizerPipeline::NamedToken(const JsonNode& config, std::string_view key) const {
  std::optional<JsonNode> node = config.Find(key);
  if (!node) return std::optional<int32_t>();
  if (node->IsObject()) node = node->Find("content");
  if (!node) return config.Complain(fmt::format("{} has no content", key));
  QUIRE_ASSIGN_OR_RETURN(const std::string_view content, node->AsString());
  const std::optional<int32_t> id = TokenId(content);
  if (!id) return node->Complain(fmt::format("\"{}\" is not in the vocabulary", content));
  return id;
}

// Only where both are said: the post-processor of tokenizer.json stands otherwise.
Status TokenizerPipeline::ReadBeginAndEnd(const JsonNode& config) {
  QUIRE_ASSIGN_OR_RETURN(const std::string tokenizer_class, config.StringOr("tokenizer_class", ""));
  if (!HonoursBeginAndEnd(tokenizer_class) || !config.Find("add_bos_token") || !config.Find("add_eos_token")) return {};
  QUIRE_ASSIGN_OR_RETURN(const bool adds_begin, config.BoolOr("add_bos_token", false));
  QUIRE_ASSIGN_OR_RETURN(const bool adds_end, config.BoolOr("add_eos_token", false));
  TokenTemplate tokens;
  if (adds_begin) {
    QUIRE_ASSIGN_OR_RETURN(const std::optional<int32_t> begin, NamedToken(config, "bos_token"));
    if (!begin) return config.Complain("add_bos_token is true, but there is no bos_token");
    tokens.push_back(*begin);
  }
  tokens.push_back(kSequence);
  if (adds_end) {
    QUIRE_ASSIGN_OR_RETURN(const std::optional<int32_t> end, NamedToken(config, "eos_token"));
    if (!end) return config.Complain("add_eos_token is true, but there is no eos_token");
    tokens.push_back(*end);
  }
  templates_ = {std::move(tokens)};
  return {};
}

Result<std::vector<int32_t>> TokenizerPipeline::Encode(std::string_view text, bool add_special_tokens) const {
  if (text.size() > kMaxTextBytes) {
    return InvalidArgument("the text has {} bytes: at most {} can be tokenized at once", text.size(), kMaxTextBytes);
  }
  if (const std::optional<size_t> offset = FindInvalidUtf8(text)) {
    return InvalidArgument("the text is not UTF-8: byte {} (0x{:02X}) is out of place", *offset,
                           static_cast<unsigned>(static_cast<unsigned char>(text[*offset])));
  }
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + 8);
  for (const TextPart& part : added_.Split(text, /*normalized=*/false)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
    } else {
      QUIRE_RETURN_IF_ERROR(EncodeRaw(part.text, part.text.data() == text.data(), ids));
    }
  }
  if (add_special_tokens) {
    for (const TokenTemplate& tokens : templates_) ids = ApplyTemplate(tokens, ids);
  }
  return ids;
}

Status TokenizerPipeline::EncodeRaw(std::string_view text, bool starts_input, std::vector<int32_t>& ids) const {
  std::string normalized;
  if (!normalizers_.empty()) {
    normalized = text;
    for (const auto& normalizer : normalizers_) QUIRE_RETURN_IF_ERROR(normalizer->Apply(normalized));
    text = normalized;
  }
  for (const TextPart& part : added_.Split(text, /*normalized=*/true)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
    } else {
      QUIRE_RETURN_IF_ERROR(EncodePlain(part.text, starts_input && part.text.data() == text.data(), ids));
    }
  }
  return {};
}

Status TokenizerPipeline::EncodePlain(std::string_view text, bool starts_input, std::vector<int32_t>& ids) const {
  if (pre_tokenizers_.steps.empty()) return model_->Tokenize(text, ids);
  Pieces pieces{.text = std::string(text), .spans = {{0, text.size()}}, .starts_input = starts_input};
  for (const auto& step : pre_tokenizers_.steps) QUIRE_RETURN_IF_ERROR(step->Apply(pieces));
  for (const Span span : pieces.spans) QUIRE_RETURN_IF_ERROR(model_->Tokenize(pieces.At(span), ids));
  return {};
}

class TokenizerPipeline::Stream final : public TokenStream {
 public:
  Stream(const TokenizerPipeline& pipeline, bool skip_special_tokens)
      : pipeline_(pipeline), skip_special_tokens_(skip_special_tokens), stream_(pipeline.decoder_.Start()) {}

  void Append(int32_t id, std::string& out) override {
    std::string_view token = pipeline_.added_.DecodedText(id);
    if (token.empty()) token = pipeline_.model_->vocabulary().Text(id).value_or(std::string_view());
    if (token.empty() || (skip_special_tokens_ && pipeline_.IsSpecial(id))) return;
    stream_.Append(token, out);
  }
  void Flush(std::string& out) override { stream_.Flush(out); }

 private:
  const TokenizerPipeline& pipeline_;
  const bool skip_special_tokens_;
  DecoderStream stream_;
};

std::unique_ptr<TokenStream> TokenizerPipeline::NewStream(bool skip_special_tokens) const {
  return std::make_unique<Stream>(*this, skip_special_tokens);
}

std::string TokenizerPipeline::Decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::string out;
  Stream stream(*this, skip_special_tokens);
  for (const int32_t id : ids) stream.Append(id, out);
  stream.Flush(out);
  return out;
}

int32_t TokenizerPipeline::vocab_size() const {
  return std::max(model_->vocabulary().end_id(), added_.vocabulary().end_id());
}

std::string_view TokenizerPipeline::TokenText(int32_t id) const {
  if (const std::optional<std::string_view> text = added_.vocabulary().Text(id)) return *text;
  return model_->vocabulary().Text(id).value_or(std::string_view());
}

std::optional<int32_t> TokenizerPipeline::TokenId(std::string_view token) const {
  if (const std::optional<int32_t> id = added_.vocabulary().Find(token)) return id;
  return model_->vocabulary().Find(token);
}

}  // namespace quire::text
