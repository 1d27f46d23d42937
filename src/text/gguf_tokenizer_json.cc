#include "text/gguf_tokenizer_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/gguf_pre_tokenizer.h"
#include "text/gguf_scored_merges.h"
#include "text/gguf_special_tokens.h"
#include "text/vocabulary.h"

namespace quire {
namespace {

using nlohmann::json;

json Sequence(const char* members, json list) { return {{"type", "Sequence"}, {members, std::move(list)}}; }

json ByteLevel(bool uses_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", uses_regex}};
}

// The tokens that are there: others have an id, and no name.
bool IsThere(const GgufVocabulary& vocabulary, size_t id) {
  return !vocabulary.tokens[id].empty() && text::TypeOf(vocabulary, id) != GgufTokenType::kUnused;
}

json Vocab(const GgufVocabulary& vocabulary) {
  json vocab = json::object();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (IsThere(vocabulary, id)) vocab[std::string(vocabulary.tokens[id])] = id;
  }
  return vocab;
}

json StatedMerges(const GgufVocabulary& vocabulary) {
  json merges = json::array();
  for (const std::string_view merge : vocabulary.merges) {
    const size_t space = merge.find(' ', 1);
    merges.push_back(json::array({std::string(merge.substr(0, space)), std::string(merge.substr(space + 1))}));
  }
  return merges;
}

Result<json> ScoredMergesJson(const GgufVocabulary& vocabulary) {
  text::Vocabulary ids;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (IsThere(vocabulary, id)) ids.Add(vocabulary.tokens[id], static_cast<int32_t>(id));
  }
  QUIRE_ASSIGN_OR_RETURN(const std::vector<text::ScoredMerge> found, text::FindScoredMerges(vocabulary, ids));
  const auto token = [&](int32_t id) { return std::string(vocabulary.tokens[static_cast<size_t>(id)]); };
  json merges = json::array();
  for (const text::ScoredMerge& merge : found) {
    merges.push_back(json::array({token(merge.left), token(merge.right)}));
  }
  return merges;
}

json Model(json vocab, json merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

json AddedTokens(const GgufVocabulary& vocabulary, const text::GgufSpecialTokens& special) {
  json added = json::array();
  size_t id = 0;
  // They are in the order of their ids.
  for (const text::AddedToken& token : special.added) {
    while (vocabulary.tokens[id] != token.content) ++id;
    added.push_back({{"id", id},
                     {"content", token.content},
                     {"single_word", token.single_word},
                     {"lstrip", token.lstrip},
                     {"rstrip", token.rstrip},
                     {"normalized", token.normalized},
                     {"special", token.special}});
  }
  return added;
}

// null: nothing goes around a text.
json PostProcessor(const GgufVocabulary& vocabulary, std::optional<int32_t> before, std::optional<int32_t> after) {
  if (!before && !after) return nullptr;
  json single = json::array(), pair = json::array(), tokens = json::object();
  const auto add = [&](std::optional<int32_t> id, json& to, int type_id) {
    if (!id) return;
    const std::string text(vocabulary.tokens[static_cast<size_t>(*id)]);
    to.push_back({{"SpecialToken", {{"id", text}, {"type_id", type_id}}}});
    tokens[text] = {{"id", text}, {"ids", json::array({*id})}, {"tokens", json::array({text})}};
  };
  const auto sequence = [](const char* name, int type_id) {
    return json{{"Sequence", {{"id", name}, {"type_id", type_id}}}};
  };
  add(before, single, 0);
  single.push_back(sequence("A", 0));
  add(after, single, 0);
  pair = single;
  add(before, pair, 1);
  pair.push_back(sequence("B", 1));
  add(after, pair, 1);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}};
}

json Splits(const text::GgufPreTokenizer& pre) {
  const auto split = [](std::string_view pattern) {
    return json{
        {"type", "Split"}, {"pattern", {{"Regex", std::string(pattern)}}}, {"behavior", "Isolated"}, {"invert", false}};
  };
  json steps = json::array();
  for (const std::string_view pattern : pre.patterns) steps.push_back(split(pattern));
  steps.push_back(ByteLevel(false));
  for (const std::string_view pattern : pre.spelled_patterns) steps.push_back(split(pattern));
  return Sequence("pretokenizers", std::move(steps));
}

Result<json> ByteLevelJson(const GgufVocabulary& vocabulary, const text::GgufSpecialTokens& special) {
  QUIRE_ASSIGN_OR_RETURN(const text::GgufPreTokenizer pre, text::FindGgufPreTokenizer(vocabulary.pre));
  json tokenizer;
  tokenizer["model"] = Model(Vocab(vocabulary), StatedMerges(vocabulary));
  tokenizer["model"]["ignore_merges"] = pre.ignore_merges;
  tokenizer["normalizer"] = pre.composes ? json{{"type", "NFC"}} : json();
  tokenizer["pre_tokenizer"] = Splits(pre);
  tokenizer["decoder"] = ByteLevel(true);
  const bool adds_bos = vocabulary.add_bos.value_or(pre.add_bos), adds_eos = vocabulary.add_eos.value_or(false);
  tokenizer["post_processor"] =
      PostProcessor(vocabulary, adds_bos ? special.bos : std::nullopt, adds_eos ? special.eos : std::nullopt);
  return tokenizer;
}

Result<json> SentencePieceJson(const GgufVocabulary& vocabulary, const text::GgufSpecialTokens& special) {
  constexpr const char* kSpace = "\u2581";
  const bool adds_space = vocabulary.add_space_prefix.value_or(true);
  const json to_pieces = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpace}};
  json merges = StatedMerges(vocabulary);
  if (merges.empty()) {
    QUIRE_ASSIGN_OR_RETURN(merges, ScoredMergesJson(vocabulary));
  }
  json tokenizer;
  tokenizer["model"] = Model(Vocab(vocabulary), std::move(merges));
  tokenizer["model"]["fuse_unk"] = true;
  tokenizer["model"]["byte_fallback"] = true;
  if (special.unknown) {
    tokenizer["model"]["unk_token"] = std::string(vocabulary.tokens[static_cast<size_t>(*special.unknown)]);
  }
  tokenizer["normalizer"] =
      adds_space ? Sequence("normalizers", json::array({{{"type", "Prepend"}, {"prepend", kSpace}}, to_pieces}))
                 : to_pieces;
  tokenizer["pre_tokenizer"] = nullptr;
  json decoders = json::array({{{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}},
                               {{"type", "ByteFallback"}},
                               {{"type", "Fuse"}}});
  if (adds_space) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  tokenizer["decoder"] = Sequence("decoders", std::move(decoders));
  const bool adds_bos = vocabulary.add_bos.value_or(true), adds_eos = vocabulary.add_eos.value_or(false);
  tokenizer["post_processor"] =
      PostProcessor(vocabulary, adds_bos ? special.bos : std::nullopt, adds_eos ? special.eos : std::nullopt);
  return tokenizer;
}

}  // namespace

Result<std::string> GgufTokenizerJson(const GgufVocabulary& vocabulary) {
  const text::GgufSpecialTokens special = text::FindGgufSpecialTokens(vocabulary);
  QUIRE_ASSIGN_OR_RETURN(json tokenizer, vocabulary.model == "llama" ? SentencePieceJson(vocabulary, special)
                                                                     : ByteLevelJson(vocabulary, special));
  tokenizer["version"] = "1.0";
  tokenizer["truncation"] = nullptr;
  tokenizer["padding"] = nullptr;
  tokenizer["added_tokens"] = AddedTokens(vocabulary, special);
  return tokenizer.dump(1);
}

std::string GgufTokenizerConfigJson(const GgufVocabulary& vocabulary, const std::string& chat_template,
                                    int64_t max_length) {
  json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"model_max_length", max_length}};
  for (const NamedToken& token : text::FindGgufSpecialTokens(vocabulary).names) config[token.name] = token.text;
  if (!chat_template.empty()) config["chat_template"] = chat_template;
  return config.dump(2);
}

}  // namespace quire
