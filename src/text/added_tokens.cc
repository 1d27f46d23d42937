#include "text/added_tokens.h"

#include <algorithm>

#include "base/error.h"
#include "text/unicode_class.h"
#include "text/utf8.h"

namespace quire::text {
namespace {

size_t BeginOfSpaceBefore(std::string_view text, size_t end) {
  while (end > 0) {
    const CodePoint code_point = DecodeUtf8Before(text, end);
    if (!IsWhitespace(code_point.value)) break;
    end -= code_point.length;
  }
  return end;
}

size_t EndOfSpaceAfter(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const CodePoint code_point = DecodeUtf8(text, begin);
    if (!IsWhitespace(code_point.value)) break;
    begin += code_point.length;
  }
  return begin;
}

}  // namespace

Result<AddedToken> ParseAddedToken(const JsonNode& node) {
  AddedToken token;
  QUIRE_ASSIGN_OR_RETURN(const JsonNode content_node, node.Get("content"));
  QUIRE_ASSIGN_OR_RETURN(token.content, content_node.AsString());
  QUIRE_ASSIGN_OR_RETURN(token.special, node.BoolOr("special", false));
  QUIRE_ASSIGN_OR_RETURN(token.single_word, node.BoolOr("single_word", false));
  QUIRE_ASSIGN_OR_RETURN(token.lstrip, node.BoolOr("lstrip", false));
  QUIRE_ASSIGN_OR_RETURN(token.rstrip, node.BoolOr("rstrip", false));
  QUIRE_ASSIGN_OR_RETURN(token.normalized, node.BoolOr("normalized", !token.special));
  return token;
}

AddedToken* AddedTokens::Find(std::string_view content) {
  const std::optional<int32_t> id = vocabulary_.Find(content);
  return id ? &tokens_[IndexOf(*id)] : nullptr;
}

Status AddedTokens::AddSpecial(const AddedToken& token, const Vocabulary& model) {
  AddedToken* known = Find(token.content);
  if (known == nullptr) return Add(token, model);
  known->special = true;
  return {};
}

Status AddedTokens::Add(const AddedToken& token, const Vocabulary& model) {
  if (token.content.empty()) return {};
  if (AddedToken* known = Find(token.content)) {
    const bool special = known->special || token.special;
    *known = token;
    known->special = special;
    return {};
  }
  const auto model_size = static_cast<int32_t>(model.size());
  const int32_t id = model.Find(token.content).value_or(std::max(model_size, vocabulary_.end_id()));
  if (id > Vocabulary::kMaxId) return InvalidArgument("added token \"{}\" gets an id over the limit", token.content);
  vocabulary_.Add(token.content, id);
  by_id_.resize(static_cast<size_t>(vocabulary_.end_id()), -1);
  by_id_[static_cast<size_t>(id)] = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
  ids_.push_back(id);
  return {};
}

Status AddedTokens::Finish(const std::vector<std::unique_ptr<const Normalizer>>& normalizers) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    std::string sought = tokens_[i].content;
    if (tokens_[i].normalized) QUIRE_RETURN_IF_ERROR(Normalize(normalizers, sought));
    if (!sought.empty()) (tokens_[i].normalized ? normalized_ : raw_).Add(sought, static_cast<int32_t>(i));
    sought_.push_back(std::move(sought));
  }
  return {};
}

bool AddedTokens::TouchesWord(std::string_view text, const TokenTrie::Match& match) {
  return (match.begin > 0 && IsWordCharacter(DecodeUtf8Before(text, match.begin).value)) ||
         (match.end < text.size() && IsWordCharacter(DecodeUtf8(text, match.end).value));
}

std::vector<TextPart> AddedTokens::Split(std::string_view text, bool normalized) const {
  const TokenTrie& trie = normalized ? normalized_ : raw_;
  std::vector<TextPart> parts;
  size_t open = 0;  // end of what is in parts
  for (TokenTrie::Match match = trie.Find(text, 0); match; match = trie.Find(text, match.end)) {
    const auto index = static_cast<size_t>(match.value);
    const AddedToken& token = tokens_[index];
    if (splits_special_ && token.special) continue;
    if (token.single_word && TouchesWord(text, match)) continue;
    const size_t begin = token.lstrip ? std::max(BeginOfSpaceBefore(text, match.begin), open) : match.begin;
    const size_t end = token.rstrip ? EndOfSpaceAfter(text, match.end) : match.end;
    if (open < begin) parts.push_back({.text = text.substr(open, begin - open)});
    parts.push_back({.text = text.substr(begin, end - begin), .id = ids_[index]});
    open = end;
  }
  if (open < text.size()) parts.push_back({.text = text.substr(open)});
  return parts;
}

size_t AddedTokens::IndexOf(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= by_id_.size()) return kNone;
  const int32_t index = by_id_[static_cast<size_t>(id)];
  return index < 0 ? kNone : static_cast<size_t>(index);
}

bool AddedTokens::IsSpecial(int32_t id) const {
  const size_t index = IndexOf(id);
  return index != kNone && tokens_[index].special;
}

std::string_view AddedTokens::DecodedText(int32_t id) const {
  const size_t index = IndexOf(id);
  return index == kNone ? std::string_view() : std::string_view(sought_[index]);
}

}  // namespace quire::text
