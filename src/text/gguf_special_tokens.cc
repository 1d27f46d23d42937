#include "text/gguf_special_tokens.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "base/log.h"

namespace quire::text {
namespace {

// Files say rarely what ends a turn. These names mean nothing else.
constexpr std::array<std::string_view, 20> kEndNames = {
    "<|eot_id|>",      "<|im_end|>", "<|end|>",       "<|return|>", "<|call|>",
    "<|calls|>",       "<|flush|>",  "<end_of_turn>", "</s>",       "<|endoftext|>",
    "<|eom_id|>",      "<EOT>",      "_<EOT>",        "[EOT]",      "[EOS]",
    "<|end_of_text|>", "<eos>",      "<turn|>",       "[e~[",       "<end_of_utterance>"};
constexpr std::string_view kDeepSeekEnd = "<｜end▁of▁sentence｜>";

bool NamesEnd(std::string_view text) {
  return text == kDeepSeekEnd || std::ranges::find(kEndNames, text) != kEndNames.end();
}

class SpecialTokenFinder {
 public:
  explicit SpecialTokenFinder(const GgufVocabulary& vocabulary)
      : vocabulary_(vocabulary), strips_(IsPhi3(vocabulary.name)) {}

  GgufSpecialTokens Find() {
    FindRoles();
    for (size_t id = 0; id < vocabulary_.tokens.size(); ++id) AddToken(id);
    DropEndsOfParts();
    return std::move(found_);
  }

 private:
  // The special tokens of these models take the white space behind them; the file has no other sign of it.
  static bool IsPhi3(std::string_view name) {
    std::string lower(name);
    for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return lower.find("phi-3") != std::string::npos || lower.find("phi3") != std::string::npos;
  }

  // Roberta's mask takes the white space before it.
  bool MaskTakesSpace() const { return vocabulary_.pre == "roberta-bpe" || vocabulary_.pre.starts_with("jina-v2-"); }

  void FindRoles() {
    const bool is_llama = vocabulary_.model == "llama";
    const auto usual = [&](int64_t id) { return is_llama ? std::optional<int64_t>(id) : std::nullopt; };
    found_.bos = Role("bos_token", vocabulary_.bos_id, usual(1));
    found_.eos = Role("eos_token", vocabulary_.eos_id, usual(2));
    found_.unknown = Role("unk_token", vocabulary_.unknown_id, usual(0));
    Role("sep_token", vocabulary_.separator_id);
    Role("pad_token", vocabulary_.padding_id);
    Role("cls_token", vocabulary_.cls_id);
    Role("mask_token", vocabulary_.mask_id);
    const std::optional<int32_t> eot = Known("eot_token", vocabulary_.eot_id);
    const std::optional<int32_t> eom = Known("eom_token", vocabulary_.eom_id);
    for (const std::optional<int32_t> id : {found_.eos, eot, eom}) {
      if (id) AddEnd(*id);
    }
  }

  // What `id` names; nothing if it is absent or names nothing.
  std::optional<int32_t> Known(std::string_view role, std::optional<int64_t> id) const {
    if (!id) return std::nullopt;
    if (IsToken(*id)) return static_cast<int32_t>(*id);
    LogWarning("gguf_token_ignored role={} id={} vocab_size={}", role, *id, vocabulary_.tokens.size());
    return std::nullopt;
  }

  // `usual`: where the file does not say, if that token is special.
  std::optional<int32_t> Role(const char* role, std::optional<int64_t> stated,
                              std::optional<int64_t> usual = std::nullopt) {
    std::optional<int32_t> id = Known(role, stated);
    if (!stated && usual && IsToken(*usual) && IsHidden(static_cast<size_t>(*usual))) {
      id = static_cast<int32_t>(*usual);
    }
    if (id) found_.names.push_back({role, std::string(vocabulary_.tokens[static_cast<size_t>(*id)])});
    return id;
  }

  bool IsToken(int64_t id) const {
    return id >= 0 && static_cast<uint64_t>(id) < vocabulary_.tokens.size() &&
           !vocabulary_.tokens[static_cast<size_t>(id)].empty() &&
           TypeOf(vocabulary_, static_cast<size_t>(id)) != GgufTokenType::kUnused;
  }

  bool IsHidden(size_t id) const {
    const GgufTokenType type = TypeOf(vocabulary_, id);
    return type == GgufTokenType::kControl || type == GgufTokenType::kUnknown;
  }

  void AddToken(size_t id) {
    const std::string_view text = vocabulary_.tokens[id];
    const GgufTokenType type = TypeOf(vocabulary_, id);
    if (text.empty() || type == GgufTokenType::kUnused || type == GgufTokenType::kByte) return;
    const bool is_user_defined = type == GgufTokenType::kUserDefined;
    const bool is_special = IsHidden(id) || (vocabulary_.token_types.empty() && (NamesEnd(text) || HasRole(id)));
    if (!is_special && !is_user_defined) return;
    const bool strips = strips_ && text != "<unk>" && text != "<s>" && text != "<|endoftext|>";
    found_.added.push_back({.content = std::string(text),
                            .special = is_special,
                            .lstrip = text == "<mask>" && MaskTakesSpace(),
                            .rstrip = strips});
    if (is_special && NamesEnd(text)) AddEnd(static_cast<int32_t>(id));
  }

  // Where types are stated, no role and no name makes a token special: files pad with "!", and "</s>" is a piece like
  // others in vocabularies that saw much HTML.
  bool HasRole(size_t id) const {
    const auto token = static_cast<int32_t>(id);
    return token == found_.bos || token == found_.unknown || std::ranges::find(found_.ends, token) != found_.ends.end();
  }

  void AddEnd(int32_t id) {
    if (std::ranges::find(found_.ends, id) == found_.ends.end()) found_.ends.push_back(id);
  }

  // In a vocabulary with "<|return|>" or "<|flush|>" beside calls, "<|end|>" ends a part of an answer.
  void DropEndsOfParts() {
    const auto ends_with = [&](std::string_view text) {
      return std::ranges::any_of(found_.ends,
                                 [&](int32_t id) { return vocabulary_.tokens[static_cast<size_t>(id)] == text; });
    };
    const bool has_calls = ends_with("<|call|>") || ends_with("<|calls|>");
    if (!has_calls || !(ends_with("<|return|>") || ends_with("<|flush|>"))) return;
    std::erase_if(found_.ends, [&](int32_t id) {
      return id != found_.eos && vocabulary_.tokens[static_cast<size_t>(id)] == "<|end|>";
    });
  }

  const GgufVocabulary& vocabulary_;
  const bool strips_;
  GgufSpecialTokens found_;
};

}  // namespace

GgufTokenType TypeOf(const GgufVocabulary& vocabulary, size_t id) {
  if (vocabulary.token_types.empty()) return GgufTokenType::kNormal;
  const int64_t type = vocabulary.token_types[id];
  const bool is_known =
      type >= static_cast<int64_t>(GgufTokenType::kNormal) && type <= static_cast<int64_t>(GgufTokenType::kByte);
  return is_known ? static_cast<GgufTokenType>(type) : GgufTokenType::kUnused;
}

GgufSpecialTokens FindGgufSpecialTokens(const GgufVocabulary& vocabulary) {
  return SpecialTokenFinder(vocabulary).Find();
}

}  // namespace quire::text
