// Byte-pair encoding: the model of most language models' tokenizers, byte-level or SentencePiece-style with byte
// fallback. Immutable apart from its lock-free word cache: any thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe_merges.h"
#include "text/token_model.h"
#include "text/vocabulary.h"
#include "text/word_cache.h"

namespace quire::text {

class BpeModel final : public TokenModel {
 public:
  static Result<std::unique_ptr<const TokenModel>> Parse(const JsonNode& node, bool pieces_are_bytes);

  Status Tokenize(std::string_view piece, std::vector<int32_t>& ids) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  class Loader;
  struct Options {
    std::optional<std::string> unknown_token;
    std::string continuing_subword_prefix;
    std::string end_of_word_suffix;
    bool fuse_unknown = false;
    bool byte_fallback = false;
    bool ignore_merges = false;  // a piece that is a token is that token
    bool pieces_are_bytes = false;
  };

  BpeModel() = default;

  // One word through the cache.
  Status TokenizeWord(std::string_view word, std::vector<int32_t>& ids) const;
  // `word` in the vocabulary's alphabet.
  Status Encode(std::string_view word, std::vector<int32_t>& ids) const;
  Status AppendSymbols(std::string_view word, std::vector<int32_t>& ids) const;
  bool AppendByteTokens(std::string_view symbol, std::vector<int32_t>& ids) const;
  std::optional<int32_t> SymbolId(std::string_view symbol, bool is_first, bool is_last, std::string& scratch) const;

  Options options_;
  Vocabulary vocabulary_;
  BpeMerges merges_{0};
  std::optional<int32_t> unknown_id_;
  std::vector<int32_t> character_ids_;         // of the code points of one or two bytes; -1: none
  std::array<int32_t, 256> byte_token_ids_{};  // of "<0x00>" ..; -1: none
  // No token that merging makes has "▁" behind another character: words may be cut in front of a "▁" that follows
  // another character, because no merge ever crosses that place.
  bool cuts_at_metaspace_ = false;
  mutable WordCache cache_;
};

}  // namespace quire::text
