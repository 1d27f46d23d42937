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

struct BpeOptions {
  std::optional<std::string> unknown_token;
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
  bool fuse_unknown = false;
  bool byte_fallback = false;
  bool ignore_merges = false;  // a piece that is a token is that token
  bool pieces_are_bytes = false;
};

class BpeModel final : public TokenModel {
 public:
  class Builder;
  static Result<std::unique_ptr<const TokenModel>> Parse(const JsonNode& node, bool pieces_are_bytes);

  Status Tokenize(std::string_view piece, std::vector<int32_t>& ids) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  BpeModel() = default;

  // One word through the cache.
  Status TokenizeWord(std::string_view word, std::vector<int32_t>& ids) const;
  // `word` in the vocabulary's alphabet.
  Status Encode(std::string_view word, std::vector<int32_t>& ids) const;
  Status AppendSymbols(std::string_view word, std::vector<int32_t>& ids) const;
  bool AppendByteTokens(std::string_view symbol, std::vector<int32_t>& ids) const;
  std::optional<int32_t> SymbolId(std::string_view symbol, bool is_first, bool is_last, std::string& scratch) const;

  BpeOptions options_;
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

// All tokens, then all merges, then Build.
class BpeModel::Builder {
 public:
  explicit Builder(BpeOptions options);

  // A token that is given again gets the later id. REQUIRES: 0 <= id <= Vocabulary::kMaxId.
  void AddToken(std::string_view token, int32_t id) { model_->vocabulary_.Add(token, id); }
  const Vocabulary& vocabulary() const { return model_->vocabulary_; }

  // REQUIRES: called once, after the last token; at most `num_merges` follow, those that apply first in front.
  void BeginMerges(size_t num_merges);
  // Says which token is missing, of these two and what they become.
  Status AddMerge(std::string_view left, std::string_view right);
  // REQUIRES: ids of the vocabulary.
  void AddMerge(int32_t left, int32_t right, int32_t merged);

  // REQUIRES: BeginMerges was called.
  std::unique_ptr<const TokenModel> Build() &&;

 private:
  void FillTables();
  bool CharactersMayVanish() const;

  std::unique_ptr<BpeModel> model_;
  int32_t num_merges_ = 0;
  std::string merged_;
};

}  // namespace quire::text
