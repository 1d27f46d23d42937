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

BpeModel::Builder::Builder(BpeOptions options) : model_(new BpeModel) { model_->options_ = std::move(options); }

void BpeModel::Builder::BeginMerges(size_t num_merges) {
  model_->merges_ = BpeMerges(num_merges);
  model_->cuts_at_metaspace_ = true;
}

Status BpeModel::Builder::AddMerge(std::string_view left, std::string_view right) {
  const std::string_view prefix = model_->options_.continuing_subword_prefix;
  if (right.size() < prefix.size()) return InvalidArgument("its right side lacks continuing_subword_prefix");
  merged_.assign(left).append(right.substr(prefix.size()));
  const Vocabulary& vocabulary = model_->vocabulary_;
  const std::optional<int32_t> left_id = vocabulary.Find(left), right_id = vocabulary.Find(right);
  const std::optional<int32_t> merged_id = vocabulary.Find(merged_);
  if (!left_id || !right_id || !merged_id) {
    const std::string_view missing = !left_id ? left : !right_id ? right : merged_;
    return InvalidArgument("\"{}\" is not in the vocabulary", missing);
  }
  AddMerge(*left_id, *right_id, *merged_id);
  return {};
}

void BpeModel::Builder::AddMerge(int32_t left, int32_t right, int32_t merged) {
  model_->merges_.Add(left, right, {.rank = num_merges_++, .merged = merged});
  const std::string_view text = model_->vocabulary_.Text(merged).value_or(std::string_view());
  if (NextMetaspaceCut(text, 0) != text.size()) model_->cuts_at_metaspace_ = false;
}

std::unique_ptr<const TokenModel> BpeModel::Builder::Build() && {
  const std::optional<std::string>& unknown = model_->options_.unknown_token;
  if (unknown) model_->unknown_id_ = model_->vocabulary_.Find(*unknown);
  FillTables();
  return std::move(model_);
}

void BpeModel::Builder::FillTables() {
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
  const BpeOptions& options = model.options_;
  // Affixes and whole-piece lookups see the whole word; a known "▁" ends a run of unknown characters; and what
  // surrounds one that vanishes may merge.
  if (!options.continuing_subword_prefix.empty() || !options.end_of_word_suffix.empty() || options.ignore_merges ||
      options.pieces_are_bytes || !model.vocabulary_.Find(kMetaspace) || CharactersMayVanish()) {
    model.cuts_at_metaspace_ = false;
  }
}

// There is nothing to stand for an unknown one.
bool BpeModel::Builder::CharactersMayVanish() const {
  if (model_->options_.unknown_token) return false;
  const auto& bytes = model_->byte_token_ids_;
  return !model_->options_.byte_fallback || std::ranges::any_of(bytes, [](int32_t id) { return id < 0; });
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
