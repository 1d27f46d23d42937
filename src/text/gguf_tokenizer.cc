#include "text/gguf_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "text/bpe_model.h"
#include "text/gguf_pre_tokenizer.h"
#include "text/gguf_scored_merges.h"
#include "text/gguf_special_tokens.h"
#include "text/tokenizer_pipeline.h"
#include "text/utf8.h"

namespace quire::text {
namespace {

constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kScores = "tokenizer.ggml.scores";
constexpr std::string_view kMerges = "tokenizer.ggml.merges";

Status CheckLengths(const GgufVocabulary& vocabulary) {
  const size_t size = vocabulary.tokens.size();
  if (size == 0) return InvalidArgument("{}: there is no token", kTokens);
  if (size > size_t{Vocabulary::kMaxId} + 1) {
    return InvalidArgument("{}: there are {} tokens, at most {} are possible", kTokens, size, Vocabulary::kMaxId + 1);
  }
  const auto check = [&](std::string_view key, size_t length) -> Status {
    if (length == 0 || length >= size) return {};
    return InvalidArgument("{}: has {} values for {} tokens", key, length, size);
  };
  QUIRE_RETURN_IF_ERROR(check("tokenizer.ggml.token_type", vocabulary.token_types.size()));
  return check(kScores, vocabulary.scores.size());
}

Status AddTokens(const GgufVocabulary& vocabulary, BpeModel::Builder& builder) {
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string_view token = vocabulary.tokens[id];
    if (const std::optional<size_t> offset = FindInvalidUtf8(token)) {
      return InvalidArgument("{}[{}]: is not UTF-8 at byte {}", kTokens, id, *offset);
    }
    if (token.empty() || TypeOf(vocabulary, id) == GgufTokenType::kUnused) continue;
    if (const std::optional<int32_t> known = builder.vocabulary().Find(token)) {
      return InvalidArgument("{}[{}]: \"{}\" is token {} already", kTokens, id, token, *known);
    }
    builder.AddToken(token, static_cast<int32_t>(id));
  }
  return {};
}

Status AddStatedMerges(const GgufVocabulary& vocabulary, BpeModel::Builder& builder) {
  builder.BeginMerges(vocabulary.merges.size());
  for (size_t i = 0; i < vocabulary.merges.size(); ++i) {
    const std::string_view merge = vocabulary.merges[i];
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      return InvalidArgument("{}[{}]: is not two tokens with a space between", kMerges, i);
    }
    const Status added = builder.AddMerge(merge.substr(0, space), merge.substr(space + 1));
    if (!added.ok()) return InvalidArgument("{}[{}]: {}", kMerges, i, added.error().message);
  }
  return {};
}

Status AddScoredMerges(const GgufVocabulary& vocabulary, BpeModel::Builder& builder) {
  QUIRE_ASSIGN_OR_RETURN(const std::vector<ScoredMerge> merges, FindScoredMerges(vocabulary, builder.vocabulary()));
  builder.BeginMerges(merges.size());
  for (const ScoredMerge& merge : merges) builder.AddMerge(merge.left, merge.right, merge.merged);
  return {};
}

Result<std::vector<std::unique_ptr<const Normalizer>>> NormalizersOf(std::string_view json) {
  QUIRE_ASSIGN_OR_RETURN(const JsonDocument document, JsonDocument::Parse(json));
  return ParseNormalizers(document.root());
}

// What goes around each text. Nothing where the file has no such token.
std::vector<TokenTemplate> AroundText(const GgufSpecialTokens& special, bool adds_bos, bool adds_eos) {
  TokenTemplate around = {kSequence};
  if (adds_bos && special.bos) around.insert(around.begin(), *special.bos);
  if (adds_eos && special.eos) around.push_back(*special.eos);
  return around.size() == 1 ? std::vector<TokenTemplate>() : std::vector<TokenTemplate>{around};
}

Result<TokenizerParts> ByteLevelParts(const GgufVocabulary& vocabulary, const GgufSpecialTokens& special) {
  QUIRE_ASSIGN_OR_RETURN(const GgufPreTokenizer pre, FindGgufPreTokenizer(vocabulary.pre));
  if (vocabulary.pre.empty()) LogWarning("gguf_pre_tokenizer_missing key=tokenizer.ggml.pre used=default");
  // A vocabulary of bytes alone needs none.
  if (vocabulary.merges.empty() && vocabulary.tokens.size() > 256) {
    return InvalidArgument("{}: is missing or empty", kMerges);
  }
  TokenizerParts parts;
  QUIRE_ASSIGN_OR_RETURN(parts.pre_tokenizers, SplitByPatterns(pre.patterns, pre.spelled_patterns));
  QUIRE_ASSIGN_OR_RETURN(parts.decoder, Decoder::ByteLevel());
  if (pre.composes) {
    QUIRE_ASSIGN_OR_RETURN(parts.normalizers, NormalizersOf(R"({"type": "NFC"})"));
  }
  BpeModel::Builder builder(
      {.ignore_merges = pre.ignore_merges, .pieces_are_bytes = parts.pre_tokenizers.leaves_bytes});
  QUIRE_RETURN_IF_ERROR(AddTokens(vocabulary, builder));
  QUIRE_RETURN_IF_ERROR(AddStatedMerges(vocabulary, builder));
  parts.model = std::move(builder).Build();
  parts.templates = AroundText(special, vocabulary.add_bos.value_or(pre.add_bos), vocabulary.add_eos.value_or(false));
  return parts;
}

Result<TokenizerParts> SentencePieceParts(const GgufVocabulary& vocabulary, const GgufSpecialTokens& special) {
  const bool adds_space = vocabulary.add_space_prefix.value_or(true);
  TokenizerParts parts;
  QUIRE_ASSIGN_OR_RETURN(parts.normalizers,
                         NormalizersOf(adds_space ? R"({"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "\u2581"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]})"
                                                  : R"({"type": "Replace", "pattern": {"String": " "},
                                                        "content": "\u2581"})"));
  QUIRE_ASSIGN_OR_RETURN(parts.decoder, Decoder::Metaspace(/*strips_first_space=*/adds_space));
  BpeOptions options{.fuse_unknown = true, .byte_fallback = true};
  if (special.unknown) options.unknown_token = vocabulary.tokens[static_cast<size_t>(*special.unknown)];
  BpeModel::Builder builder(std::move(options));
  QUIRE_RETURN_IF_ERROR(AddTokens(vocabulary, builder));
  // Files that were made of a tokenizer.json have its merges, and no scores worth the name.
  QUIRE_RETURN_IF_ERROR(vocabulary.merges.empty() ? AddScoredMerges(vocabulary, builder)
                                                  : AddStatedMerges(vocabulary, builder));
  parts.model = std::move(builder).Build();
  parts.templates = AroundText(special, vocabulary.add_bos.value_or(true), vocabulary.add_eos.value_or(false));
  return parts;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> BuildGgufTokenizer(const GgufVocabulary& vocabulary) {
  const bool is_byte_level = vocabulary.model == "gpt2";
  if (!is_byte_level && vocabulary.model != "llama") {
    return Unimplemented("tokenizer.ggml.model: \"{}\" is not supported; known are gpt2 and llama", vocabulary.model);
  }
  QUIRE_RETURN_IF_ERROR(CheckLengths(vocabulary));
  GgufSpecialTokens special = FindGgufSpecialTokens(vocabulary);
  QUIRE_ASSIGN_OR_RETURN(TokenizerParts parts,
                         is_byte_level ? ByteLevelParts(vocabulary, special) : SentencePieceParts(vocabulary, special));
  parts.added = std::move(special.added);
  parts.names = std::move(special.names);
  parts.eos_token_id = special.eos;
  parts.end_token_ids = std::move(special.ends);
  return TokenizerPipeline::Assemble(std::move(parts));
}

}  // namespace quire::text
