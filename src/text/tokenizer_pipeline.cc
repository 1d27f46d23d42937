#include "text/tokenizer_pipeline.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/utf8.h"

namespace quire::text {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;

// The pre-tokenizer of a SentencePiece-style tokenizer, in the form of tokenizer.json.
constexpr std::string_view kMetaspace =
    R"({{"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "{}", "split": false}})";

}  // namespace

Result<std::unique_ptr<Tokenizer>> TokenizerPipeline::Assemble(TokenizerParts parts) {
  std::unique_ptr<TokenizerPipeline> pipeline(new TokenizerPipeline);
  pipeline->normalizers_ = std::move(parts.normalizers);
  pipeline->pre_tokenizers_ = std::move(parts.pre_tokenizers);
  pipeline->model_ = std::move(parts.model);
  pipeline->templates_ = std::move(parts.templates);
  pipeline->decoder_ = std::move(parts.decoder);
  for (const AddedToken& token : parts.added) {
    QUIRE_RETURN_IF_ERROR(pipeline->added_.Add(token, pipeline->model_->vocabulary()));
  }
  QUIRE_RETURN_IF_ERROR(pipeline->added_.Finish(pipeline->normalizers_));
  pipeline->special_tokens_ = std::move(parts.names);
  pipeline->eos_token_id_ = parts.eos_token_id;
  pipeline->end_token_ids_ = std::move(parts.end_token_ids);
  return std::unique_ptr<Tokenizer>(std::move(pipeline));
}

Result<std::unique_ptr<Tokenizer>> TokenizerPipeline::Build(const JsonNode& root, const TokenizerSettings& settings) {
  std::unique_ptr<TokenizerPipeline> pipeline(new TokenizerPipeline);
  QUIRE_RETURN_IF_ERROR(pipeline->ReadParts(root, settings));
  QUIRE_RETURN_IF_ERROR(pipeline->ReadAddedTokens(root, settings));
  if (settings.eos_token) pipeline->eos_token_id_ = pipeline->TokenId(*settings.eos_token);
  if (pipeline->eos_token_id_) pipeline->end_token_ids_ = {*pipeline->eos_token_id_};
  pipeline->special_tokens_ = settings.names;
  return std::unique_ptr<Tokenizer>(std::move(pipeline));
}

Status TokenizerPipeline::ReadParts(const JsonNode& root, const TokenizerSettings& settings) {
  if (const std::optional<JsonNode> node = root.Find("normalizer")) {
    QUIRE_ASSIGN_OR_RETURN(normalizers_, ParseNormalizers(*node));
  }
  if (const std::optional<JsonNode> node = root.Find("decoder")) {
    QUIRE_ASSIGN_OR_RETURN(decoder_, Decoder::Parse(*node));
  }
  QUIRE_RETURN_IF_ERROR(ReadPreTokenizers(root, settings));
  QUIRE_ASSIGN_OR_RETURN(const JsonNode model, root.Get("model"));
  QUIRE_ASSIGN_OR_RETURN(model_, ParseTokenModel(model, pre_tokenizers_.leaves_bytes));
  if (const std::optional<JsonNode> node = root.Find("post_processor")) {
    QUIRE_ASSIGN_OR_RETURN(templates_, ParsePostProcessors(*node));
  }
  return {};
}

Status TokenizerPipeline::ReadPreTokenizers(const JsonNode& root, const TokenizerSettings& settings) {
  const bool heeds_flag = settings.add_prefix_space.has_value();
  std::optional<bool> prefix_space;
  if (heeds_flag && settings.prefix_space_rule == PrefixSpaceRule::kByteLevel) prefix_space = settings.add_prefix_space;
  if (const std::optional<JsonNode> node = root.Find("pre_tokenizer")) {
    QUIRE_ASSIGN_OR_RETURN(pre_tokenizers_, ParsePreTokenizers(*node, prefix_space));
  }
  // Byte-level vocabularies name that class, too (Llama 3): it would be of no use to them.
  if (heeds_flag && settings.prefix_space_rule == PrefixSpaceRule::kMetaspace && !pre_tokenizers_.leaves_bytes) {
    return UseMetaspace(*settings.add_prefix_space, settings.legacy);
  }
  return {};
}

Status TokenizerPipeline::UseMetaspace(bool add_prefix_space, bool legacy) {
  const char* scheme = !add_prefix_space ? "never" : legacy ? "always" : "first";
  QUIRE_ASSIGN_OR_RETURN(const JsonDocument step, JsonDocument::Parse(fmt::format(kMetaspace, scheme)));
  QUIRE_ASSIGN_OR_RETURN(pre_tokenizers_, ParsePreTokenizers(step.root()));
  QUIRE_ASSIGN_OR_RETURN(decoder_, Decoder::Metaspace(/*strips_first_space=*/add_prefix_space));
  normalizers_.clear();
  return {};
}

Status TokenizerPipeline::ReadAddedTokens(const JsonNode& root, const TokenizerSettings& settings) {
  // The class has no normalizer, whatever the file has: its tokens are sought in the text as it is.
  const bool only_raw = settings.prefix_space_rule == PrefixSpaceRule::kMetaspace && !pre_tokenizers_.leaves_bytes &&
                        !normalizers_.empty();
  const auto as_sought = [&](AddedToken token) {
    token.normalized = token.normalized && !only_raw;
    return token;
  };
  if (const std::optional<JsonNode> tokens = root.Find("added_tokens")) {
    QUIRE_RETURN_IF_ERROR(tokens->ForEachElement([&](const JsonNode& node) -> Status {
      QUIRE_ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(node));
      return added_.Add(as_sought(std::move(token)), model_->vocabulary());
    }));
  }
  for (const AddedToken& token : settings.tokens) {
    QUIRE_RETURN_IF_ERROR(added_.Add(as_sought(token), model_->vocabulary()));
  }
  for (const AddedToken& token : settings.special) {
    QUIRE_RETURN_IF_ERROR(added_.AddSpecial(as_sought(token), model_->vocabulary()));
  }
  if (settings.split_special_tokens) added_.SplitSpecialTokens();
  return added_.Finish(normalizers_);
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
    QUIRE_RETURN_IF_ERROR(Normalize(normalizers_, normalized));
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
