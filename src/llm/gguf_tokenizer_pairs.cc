#include "llm/gguf_tokenizer_pairs.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/error.h"
#include "text/chat_template_source.h"
#include "text/gguf_pre_tokenizer.h"
#include "text/gguf_vocabulary.h"

namespace quire {
namespace {

using nlohmann::json;

constexpr const char* kSpace = "\u2581";

// Of an object; null where it is absent or `value` is no object.
const json& Member(const json& value, const char* name) {
  static const json kNull;
  if (!value.is_object()) return kNull;
  const auto it = value.find(name);
  return it == value.end() ? kNull : *it;
}
std::string TextOf(const json& value, const char* name) {
  const json& member = Member(value, name);
  return member.is_string() ? member.get<std::string>() : "";
}
bool FlagOf(const json& value, const char* name, bool fallback) {
  const json& member = Member(value, name);
  return member.is_boolean() ? member.get<bool>() : fallback;
}

// A Sequence's members, or the thing itself.
std::vector<json> Steps(const json& node, const char* members) {
  if (node.is_null()) return {};
  if (TextOf(node, "type") != "Sequence") return {node};
  std::vector<json> steps;
  for (const json& member : Member(node, members)) {
    for (json& step : Steps(member, members)) steps.push_back(std::move(step));
  }
  return steps;
}

// A pattern that cuts as the step does; nothing for one that does not cut; an error for what no pattern says.
Result<std::optional<std::string>> PatternOf(const json& step) {
  using Pattern = std::optional<std::string>;
  const std::string type = TextOf(step, "type");
  if (type == "ByteLevel") {
    if (FlagOf(step, "add_prefix_space", true)) return Unimplemented("a space is put before each text");
    return FlagOf(step, "use_regex", true) ? Pattern(text::Gpt2Pattern()) : Pattern();
  }
  if (type == "Digits") return Pattern(FlagOf(step, "individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)");
  const std::string regex = TextOf(Member(step, "pattern"), "Regex"), behavior = TextOf(step, "behavior");
  const bool inverts = FlagOf(step, "invert", false);
  if (type == "Split" && !regex.empty() &&
      ((behavior == "Isolated" && !inverts) || (behavior == "Removed" && inverts))) {
    return Pattern(regex);
  }
  return Unimplemented("pre-tokenizer {}", step.dump());
}

Result<std::string> PreTokenizerName(const json& tokenizer) {
  std::vector<std::string> patterns;
  for (const json& step : Steps(Member(tokenizer, "pre_tokenizer"), "pretokenizers")) {
    QUIRE_ASSIGN_OR_RETURN(std::optional<std::string> pattern, PatternOf(step));
    if (pattern) patterns.push_back(*std::move(pattern));
  }
  bool composes = false;
  for (const json& step : Steps(Member(tokenizer, "normalizer"), "normalizers")) {
    if (TextOf(step, "type") != "NFC") return Unimplemented("normalizer {}", step.dump());
    composes = true;
  }
  const bool ignore_merges = FlagOf(Member(tokenizer, "model"), "ignore_merges", false);
  const auto name = text::NameOfGgufPreTokenizer(patterns, ignore_merges, composes);
  if (name) return std::string(*name);
  return Unimplemented("no name of tokenizer.ggml.pre stands for {}", json(patterns).dump());
}

// Whether a space goes before a text.
Result<bool> AddsSpacePrefix(const json& tokenizer) {
  bool adds = false;
  for (const json& step : Steps(Member(tokenizer, "normalizer"), "normalizers")) {
    const bool prepends = TextOf(step, "type") == "Prepend" && TextOf(step, "prepend") == kSpace;
    const bool replaces = TextOf(step, "type") == "Replace" && TextOf(step, "content") == kSpace;
    if (!prepends && !replaces) return Unimplemented("normalizer {}", step.dump());
    adds = adds || prepends;
  }
  for (const json& step : Steps(Member(tokenizer, "pre_tokenizer"), "pretokenizers")) {
    if (TextOf(step, "type") != "Metaspace") return Unimplemented("pre-tokenizer {}", step.dump());
    const std::string scheme = TextOf(step, "prepend_scheme");
    adds = adds || (scheme.empty() ? FlagOf(step, "add_prefix_space", true) : scheme != "never");
  }
  return adds;
}

// Merges are "left right", or a list of two.
std::vector<std::pair<std::string, std::string>> MergesOf(const json& model) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (const json& merge : Member(model, "merges")) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else if (merge.is_string()) {
      const std::string text = merge.get<std::string>();
      const size_t space = text.find(' ', 1);
      if (space != std::string::npos) merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    }
  }
  return merges;
}

bool IsByteToken(std::string_view token) {
  const auto is_hex = [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; };
  return token.size() == 6 && token.starts_with("<0x") && is_hex(token[3]) && is_hex(token[4]) && token[5] == '>';
}

class PairsWriter {
 public:
  PairsWriter(const json& description, const Tokenizer& tokenizer, const VocabularyUse& use, GgufPairs& pairs)
      : description_(description), tokenizer_(tokenizer), use_(use), pairs_(pairs) {}

  Status Write() {
    const json& model = Member(description_, "model");
    if (TextOf(model, "type") != "BPE") return Unimplemented("a tokenizer of type {}", TextOf(model, "type"));
    is_sentencepiece_ = FlagOf(model, "byte_fallback", false);
    pairs_.AddString("tokenizer.ggml.model", is_sentencepiece_ ? "llama" : "gpt2");
    if (is_sentencepiece_) {
      QUIRE_ASSIGN_OR_RETURN(const bool adds, AddsSpacePrefix(description_));
      pairs_.AddString("tokenizer.ggml.pre", "default");
      pairs_.AddBool("tokenizer.ggml.add_space_prefix", adds);
    } else {
      QUIRE_ASSIGN_OR_RETURN(const std::string pre, PreTokenizerName(description_));
      pairs_.AddString("tokenizer.ggml.pre", pre);
    }
    WriteTokens();
    WriteMerges(MergesOf(model));
    return WriteRoles();
  }

 private:
  int32_t size() const { return std::max(use_.vocab_size, tokenizer_.vocab_size()); }

  int32_t TypeOf(int32_t id, const std::string& token) const {
    if (token.empty()) return static_cast<int32_t>(GgufTokenType::kUnused);
    if (unknown_ == id && is_sentencepiece_) return static_cast<int32_t>(GgufTokenType::kUnknown);
    if (tokenizer_.IsSpecial(id)) return static_cast<int32_t>(GgufTokenType::kControl);
    if (added_.count(token) > 0) return static_cast<int32_t>(GgufTokenType::kUserDefined);
    const bool is_byte = is_sentencepiece_ && IsByteToken(token);
    return static_cast<int32_t>(is_byte ? GgufTokenType::kByte : GgufTokenType::kNormal);
  }

  void WriteTokens() {
    for (const json& token : Member(description_, "added_tokens")) added_[TextOf(token, "content")] = true;
    for (const NamedToken& token : tokenizer_.special_tokens()) {
      if (token.name == "unk_token") unknown_ = tokenizer_.TokenId(token.text);
    }
    std::vector<std::string> tokens;
    std::vector<int32_t> types;
    for (int32_t id = 0; id < size(); ++id) {
      const std::string token(tokenizer_.TokenText(id));
      types.push_back(TypeOf(id, token));
      tokens.push_back(token.empty() ? fmt::format("[PAD{}]", id) : token);
    }
    pairs_.AddStrings("tokenizer.ggml.tokens", tokens);
    pairs_.AddInt32s("tokenizer.ggml.token_type", types);
  }

  // A piece that is joined sooner has the higher score; those that nothing joins, the lowest.
  void WriteMerges(const std::vector<std::pair<std::string, std::string>>& merges) {
    std::vector<std::string> texts;
    texts.reserve(merges.size());
    for (const auto& [left, right] : merges) texts.push_back(left + " " + right);
    pairs_.AddStrings("tokenizer.ggml.merges", texts);
    if (!is_sentencepiece_) return;
    std::vector<float> scores(static_cast<size_t>(size()), -static_cast<float>(merges.size()) - 1);
    for (size_t i = merges.size(); i > 0; --i) {
      const auto merged = tokenizer_.TokenId(merges[i - 1].first + merges[i - 1].second);
      if (merged) scores[static_cast<size_t>(*merged)] = -static_cast<float>(i - 1);
    }
    pairs_.AddFloat32s("tokenizer.ggml.scores", scores);
  }

  Status WriteRoles() {
    static constexpr std::pair<const char*, const char*> kRoles[] = {
        {"bos_token", "tokenizer.ggml.bos_token_id"},     {"eos_token", "tokenizer.ggml.eos_token_id"},
        {"unk_token", "tokenizer.ggml.unknown_token_id"}, {"sep_token", "tokenizer.ggml.seperator_token_id"},
        {"pad_token", "tokenizer.ggml.padding_token_id"}, {"cls_token", "tokenizer.ggml.cls_token_id"},
        {"mask_token", "tokenizer.ggml.mask_token_id"}};
    std::optional<int32_t> bos, eos;
    for (const NamedToken& token : tokenizer_.special_tokens()) {
      const std::optional<int32_t> id = tokenizer_.TokenId(token.text);
      const auto* role = std::ranges::find_if(kRoles, [&](const auto& known) { return token.name == known.first; });
      if (!id || role == std::end(kRoles)) continue;
      pairs_.AddUint32(role->second, static_cast<uint32_t>(*id));
      if (token.name == "bos_token") bos = id;
      if (token.name == "eos_token") eos = id;
    }
    QUIRE_ASSIGN_OR_RETURN(const std::vector<int32_t> around, tokenizer_.Encode("", true));
    // Where no file names them, what goes around a text tells.
    if (!bos && !around.empty() && around.front() != eos) {
      bos = around.front();
      pairs_.AddUint32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(*bos));
    }
    if (!eos && around.size() > 1) {
      eos = around.back();
      pairs_.AddUint32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(*eos));
    }
    const bool adds_bos = bos && !around.empty() && around.front() == *bos;
    const bool adds_eos = eos && around.size() > (adds_bos ? 1U : 0U) && around.back() == *eos;
    pairs_.AddBool("tokenizer.ggml.add_bos_token", adds_bos);
    pairs_.AddBool("tokenizer.ggml.add_eos_token", adds_eos);
    return WriteEnds(eos);
  }

  // There are three keys for what ends an answer.
  Status WriteEnds(std::optional<int32_t> eos) {
    std::vector<std::string> keys = {"tokenizer.ggml.eom_token_id", "tokenizer.ggml.eot_token_id"};
    if (!eos) keys.emplace_back("tokenizer.ggml.eos_token_id");
    for (const int32_t id : use_.end_token_ids) {
      if (id == eos) continue;
      if (keys.empty()) return Unimplemented("over three tokens end an answer, {} among them", id);
      pairs_.AddUint32(keys.back(), static_cast<uint32_t>(id));
      keys.pop_back();
    }
    return {};
  }

  const json& description_;
  const Tokenizer& tokenizer_;
  const VocabularyUse& use_;
  GgufPairs& pairs_;
  bool is_sentencepiece_ = false;
  std::optional<int32_t> unknown_;
  std::map<std::string, bool> added_;
};

}  // namespace

Status AddTokenizerPairs(const std::string& directory, const Tokenizer& tokenizer, const VocabularyUse& use,
                         GgufPairs& pairs) {
  const std::string path = JoinPath(directory, "tokenizer.json");
  QUIRE_ASSIGN_OR_RETURN(const std::string text, Env::Posix().ReadFile(path));
  const json description = json::parse(text, nullptr, false);
  if (!description.is_object()) return DataLoss("{} is not a JSON object", path);
  Status status = PairsWriter(description, tokenizer, use, pairs).Write();
  if (!status.ok()) {
    return Unimplemented("{}: GGUF cannot say this tokenizer: {}", path, status.error().message);
  }
  const Result<std::string> chat_template = LoadChatTemplateSource(directory);
  if (chat_template.ok()) pairs.AddString("tokenizer.chat_template", *chat_template);
  if (!chat_template.ok() && chat_template.error().code != ErrorCode::kNotFound) return chat_template.error();
  return {};
}

}  // namespace quire
