#include "text/bpe_model.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/utf8.h"

namespace quire::text {
namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";
constexpr char32_t kCharacterTableEnd = 0x800;

// The first place after `from` where a "▁" follows another character; the size of `text` if there is none.
size_t NextMetaspaceCut(std::string_view text, size_t from) {
  size_t at = text.find(kMetaspace, from + 1);
  while (at != std::string_view::npos && text.substr(0, at).ends_with(kMetaspace)) {
    at = text.find(kMetaspace, at + kMetaspace.size());
  }
  return at == std::string_view::npos ? text.size() : at;
}

}  // namespace

class BpeModel::Loader {
 public:
  explicit Loader(const JsonNode& node) : node_(node), model_(new BpeModel) {}

  Result<std::unique_ptr<const TokenModel>> Load(bool pieces_are_bytes) {
    QUIRE_RETURN_IF_ERROR(ReadOptions(pieces_are_bytes));
    QUIRE_RETURN_IF_ERROR(ReadVocabulary());
    QUIRE_RETURN_IF_ERROR(ReadMerges());
    QUIRE_RETURN_IF_ERROR(FindUnknown());
    FillTables();
    return std::unique_ptr<const TokenModel>(std::move(model_));
  }

 private:
  Status ReadOptions(bool pieces_are_bytes) {
    Options& options = model_->options_;
    options.pieces_are_bytes = pieces_are_bytes;
    QUIRE_ASSIGN_OR_RETURN(options.continuing_subword_prefix, node_.StringOr("continuing_subword_prefix", ""));
    QUIRE_ASSIGN_OR_RETURN(options.end_of_word_suffix, node_.StringOr("end_of_word_suffix", ""));
    QUIRE_ASSIGN_OR_RETURN(options.fuse_unknown, node_.BoolOr("fuse_unk", false));
    QUIRE_ASSIGN_OR_RETURN(options.byte_fallback, node_.BoolOr("byte_fallback", false));
    QUIRE_ASSIGN_OR_RETURN(options.ignore_merges, node_.BoolOr("ignore_merges", false));
    if (const std::optional<JsonNode> unknown = node_.Find("unk_token")) {
      QUIRE_ASSIGN_OR_RETURN(options.unknown_token, unknown->AsString());
    }
    if (const std::optional<JsonNode> dropout = node_.Find("dropout")) {
      QUIRE_ASSIGN_OR_RETURN(const double probability, dropout->AsNumber());
      if (probability != 0) return Unimplemented("{}: random dropout of merges", dropout->Path());
    }
    return {};
  }

  Status ReadVocabulary() {
    QUIRE_ASSIGN_OR_RETURN(const JsonNode vocab, node_.Get("vocab"));
    return vocab.ForEachMember([&](std::string_view token, const JsonNode& member) -> Status {
      QUIRE_ASSIGN_OR_RETURN(const int64_t id, member.AsInt());
      if (id < 0 || id > Vocabulary::kMaxId) {
        return member.Complain(fmt::format("the id of \"{}\" is {}, not from 0 to {}", token, id, Vocabulary::kMaxId));
      }
      model_->vocabulary_.Add(token, static_cast<int32_t>(id));
      return {};
    });
  }

  Status ReadMerges() {
    QUIRE_ASSIGN_OR_RETURN(const JsonNode merges, node_.Get("merges"));
    int32_t count = 0;
    QUIRE_RETURN_IF_ERROR(merges.ForEachElement([&](const JsonNode&) -> Status {
      ++count;
      return {};
    }));
    model_->merges_ = BpeMerges(static_cast<size_t>(count));
    model_->cuts_at_metaspace_ = true;
    int32_t rank = 0;
    return merges.ForEachElement([&](const JsonNode& merge) { return AddMerge(merge, rank++); });
  }

  Status AddMerge(const JsonNode& merge, int32_t rank) {
    std::string_view left, right;
    QUIRE_RETURN_IF_ERROR(ReadPair(merge, left, right));
    const std::string_view prefix = model_->options_.continuing_subword_prefix;
    if (right.size() < prefix.size()) return merge.Complain("its right side lacks continuing_subword_prefix");
    merged_.assign(left).append(right.substr(prefix.size()));
    const Vocabulary& vocabulary = model_->vocabulary_;
    const std::optional<int32_t> left_id = vocabulary.Find(left), right_id = vocabulary.Find(right);
    const std::optional<int32_t> merged_id = vocabulary.Find(merged_);
    const auto missing = [&](std::string_view token) {
      return merge.Complain(fmt::format("\"{}\" is not in the vocabulary", token));
    };
    if (!left_id) return missing(left);
    if (!right_id) return missing(right);
    if (!merged_id) return missing(merged_);
    model_->merges_.Add(*left_id, *right_id, {.rank = rank, .merged = *merged_id});
    if (NextMetaspaceCut(merged_, 0) != merged_.size()) model_->cuts_at_metaspace_ = false;
    return {};
  }

  // "a b" or ["a", "b"].
  static Status ReadPair(const JsonNode& merge, std::string_view& left, std::string_view& right) {
    if (merge.IsString()) {
      QUIRE_ASSIGN_OR_RETURN(const std::string_view both, merge.AsString());
      const size_t space = both.find(' ');
      if (space == std::string_view::npos || both.find(' ', space + 1) != std::string_view::npos) {
        return merge.Complain(fmt::format("\"{}\" is not two tokens with a space between", both));
      }
      left = both.substr(0, space);
      right = both.substr(space + 1);
      return {};
    }
    int count = 0;
    QUIRE_RETURN_IF_ERROR(merge.ForEachElement([&](const JsonNode& side) -> Status {
      QUIRE_ASSIGN_OR_RETURN((count++ == 0 ? left : right), side.AsString());
      return {};
    }));
    return count == 2 ? Status() : merge.Complain("must be two tokens");
  }

  Status FindUnknown() {
    const std::optional<std::string>& token = model_->options_.unknown_token;
    if (!token) return {};
    model_->unknown_id_ = model_->vocabulary_.Find(*token);
    return {};
  }

  void FillTables() {
    BpeModel& model = *model_;
    model.character_ids_.assign(kCharacterTableEnd, -1);
    for (char32_t c = 0; c < kCharacterTableEnd; ++c) {
      std::string text;
      AppendUtf8(c, text);
      model.character_ids_[c] = model.vocabulary_.Find(text).value_or(-1);
    }
    for (size_t byte = 0; byte < 256; ++byte) {
      model.byte_token_ids_[byte] = model.vocabulary_.Find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
    }
    const Options& options = model.options_;
    // Affixes and whole-piece lookups see the whole word; a known "▁" ends a run of unknown characters; and what
    // surrounds one that vanishes may merge.
    if (!options.continuing_subword_prefix.empty() || !options.end_of_word_suffix.empty() || options.ignore_merges ||
        options.pieces_are_bytes || !model.vocabulary_.Find(kMetaspace) || CharactersMayVanish()) {
      model.cuts_at_metaspace_ = false;
    }
  }

  // There is nothing to stand for an unknown one.
  bool CharactersMayVanish() const {
    if (model_->options_.unknown_token) return false;
    const auto& bytes = model_->byte_token_ids_;
    return !model_->options_.byte_fallback || std::ranges::any_of(bytes, [](int32_t id) { return id < 0; });
  }

  const JsonNode& node_;
  std::unique_ptr<BpeModel> model_;
  std::string merged_;
};

Result<std::unique_ptr<const TokenModel>> BpeModel::Parse(const JsonNode& node, bool pieces_are_bytes) {
  return Loader(node).Load(pieces_are_bytes);
}

Status BpeModel::Tokenize(std::string_view piece, std::vector<int32_t>& ids) const {
  if (!cuts_at_metaspace_) return TokenizeWord(piece, ids);
  for (size_t at = 0; at < piece.size();) {
    const size_t cut = NextMetaspaceCut(piece, at);
    QUIRE_RETURN_IF_ERROR(TokenizeWord(piece.substr(at, cut - at), ids));
    at = cut;
  }
  return {};
}

Status BpeModel::TokenizeWord(std::string_view word, std::vector<int32_t>& ids) const {
  if (cache_.Lookup(word, ids)) return {};
  const size_t first = ids.size();
  if (options_.pieces_are_bytes) {
    std::string spelled;
    AppendByteLevel(word, spelled);
    QUIRE_RETURN_IF_ERROR(Encode(spelled, ids));
  } else {
    QUIRE_RETURN_IF_ERROR(Encode(word, ids));
  }
  cache_.Insert(word, std::span<const int32_t>(ids).subspan(first));
  return {};
}

Status BpeModel::Encode(std::string_view word, std::vector<int32_t>& ids) const {
  if (options_.ignore_merges) {
    if (const std::optional<int32_t> id = vocabulary_.Find(word)) {
      ids.push_back(*id);
      return {};
    }
  }
  const size_t first = ids.size();
  QUIRE_RETURN_IF_ERROR(AppendSymbols(word, ids));
  merges_.Apply(ids, first);
  return {};
}

// An unknown symbol waits for the next known one, so that fuse_unk can join it with more of its kind. Byte tokens do
// not end the wait: a quirk of the reference that is visible only if some bytes have no token.
Status BpeModel::AppendSymbols(std::string_view word, std::vector<int32_t>& ids) const {
  std::optional<int32_t> waiting;
  std::string scratch;
  for (size_t at = 0; at < word.size();) {
    const size_t length = DecodeUtf8(word, at).length;
    const std::string_view symbol = word.substr(at, length);
    const std::optional<int32_t> id = SymbolId(symbol, at == 0, at + length == word.size(), scratch);
    at += length;
    if (id) {
      if (waiting) ids.push_back(*waiting);
      waiting.reset();
      ids.push_back(*id);
      continue;
    }
    if (options_.byte_fallback && AppendByteTokens(symbol, ids)) continue;
    if (!options_.unknown_token) continue;
    if (!unknown_id_) return InvalidArgument("unk_token \"{}\" is not in the vocabulary", *options_.unknown_token);
    if (waiting && !options_.fuse_unknown) ids.push_back(*waiting);
    waiting = unknown_id_;
  }
  if (waiting) ids.push_back(*waiting);
  return {};
}

std::optional<int32_t> BpeModel::SymbolId(std::string_view symbol, bool is_first, bool is_last,
                                          std::string& scratch) const {
  const bool has_prefix = !is_first && !options_.continuing_subword_prefix.empty();
  const bool has_suffix = is_last && !options_.end_of_word_suffix.empty();
  if (has_prefix || has_suffix) {
    scratch.clear();
    if (has_prefix) scratch.append(options_.continuing_subword_prefix);
    scratch.append(symbol);
    if (has_suffix) scratch.append(options_.end_of_word_suffix);
    return vocabulary_.Find(scratch);
  }
  const char32_t c = DecodeUtf8(symbol, 0).value;
  if (c >= kCharacterTableEnd) return vocabulary_.Find(symbol);
  const int32_t id = character_ids_[c];
  return id < 0 ? std::nullopt : std::optional<int32_t>(id);
}

bool BpeModel::AppendByteTokens(std::string_view symbol, std::vector<int32_t>& ids) const {
  const size_t first = ids.size();
  for (const char byte : symbol) {
    const int32_t id = byte_token_ids_[static_cast<unsigned char>(byte)];
    if (id < 0) {
      ids.resize(first);
      return false;
    }
    ids.push_back(id);
  }
  return true;
}

}  // namespace quire::text
