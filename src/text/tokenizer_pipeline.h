// The Tokenizer that tokenizer.json describes: added tokens, normalizer, pre-tokenizer, model, post-processor, decoder,
// applied in this order as Hugging Face `tokenizers` does. Immutable: any thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/token_model.h"
#include "text/tokenizer.h"
#include "text/tokenizer_settings.h"

namespace quire::text {

struct TokenizerParts {
  std::vector<std::unique_ptr<const Normalizer>> normalizers;
  PreTokenizerChain pre_tokenizers;
  std::unique_ptr<const TokenModel> model;
  std::vector<TokenTemplate> templates;
  Decoder decoder;
  std::vector<AddedToken> added;
  std::vector<NamedToken> names;
  std::optional<int32_t> eos_token_id;
  std::vector<int32_t> end_token_ids;
};

class TokenizerPipeline final : public Tokenizer {
 public:
  // REQUIRES: there is a model.
  static Result<std::unique_ptr<Tokenizer>> Assemble(TokenizerParts parts);
  // `root`: of tokenizer.json.
  static Result<std::unique_ptr<Tokenizer>> Build(const JsonNode& root, const TokenizerSettings& settings);

  Result<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const override;
  std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const override;
  int32_t vocab_size() const override;
  bool IsSpecial(int32_t id) const override { return added_.IsSpecial(id); }
  std::optional<int32_t> eos_token_id() const override { return eos_token_id_; }
  std::vector<int32_t> end_token_ids() const override { return end_token_ids_; }
  std::span<const NamedToken> special_tokens() const override { return special_tokens_; }
  std::string_view TokenText(int32_t id) const override;
  std::optional<int32_t> TokenId(std::string_view token) const override;
  std::unique_ptr<TokenStream> NewStream(bool skip_special_tokens) const override;

 private:
  class Stream;
  TokenizerPipeline() = default;

  Status ReadParts(const JsonNode& root, const TokenizerSettings& settings);
  Status ReadPreTokenizers(const JsonNode& root, const TokenizerSettings& settings);
  Status UseMetaspace(bool add_prefix_space, bool legacy);
  Status ReadAddedTokens(const JsonNode& root, const TokenizerSettings& settings);

  // Text between the tokens that are sought in raw text.
  Status EncodeRaw(std::string_view text, bool starts_input, std::vector<int32_t>& ids) const;
  // Text in which nothing is sought any more.
  Status EncodePlain(std::string_view text, bool starts_input, std::vector<int32_t>& ids) const;

  AddedTokens added_;
  std::vector<std::unique_ptr<const Normalizer>> normalizers_;
  PreTokenizerChain pre_tokenizers_;
  std::unique_ptr<const TokenModel> model_;
  std::vector<TokenTemplate> templates_;
  Decoder decoder_;
  std::optional<int32_t> eos_token_id_;
  std::vector<int32_t> end_token_ids_;
  std::vector<NamedToken> special_tokens_;
};

}  // namespace quire::text
