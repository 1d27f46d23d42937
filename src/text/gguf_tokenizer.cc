#include "text/gguf_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "text/bpe_model.h"
#include "text/gguf_pre_tokenizer.h"
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

// SentencePiece joins the neighbours whose token has the highest score. As merges: every pair of pieces that together
// are a piece, in the order of the scores, and of the ids where these are equal. Transformers converts such
// vocabularies in the same way.
class ScoredMerges {
 public:
  ScoredMerges(const GgufVocabulary& vocabulary, const Vocabulary& ids) : vocabulary_(vocabulary), ids_(ids) {}

  Status AddTo(BpeModel::Builder& builder) {
    QUIRE_RETURN_IF_ERROR(Check());
    std::vector<int32_t> order;
    for (size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      is_piece_.push_back(TypeOf(vocabulary_, id) == GgufTokenType::kNormal);
      if (is_piece_.back()) order.push_back(static_cast<int32_t>(id));
    }
    std::ranges::stable_sort(order, std::ranges::greater(),
                             [&](int32_t id) { return vocabulary_.scores[static_cast<size_t>(id)]; });
    for (const int32_t id : order) AddPairsOf(id);
    builder.BeginMerges(pairs_.size());
    for (const Pair& pair : pairs_) builder.AddMerge(pair.left, pair.right, pair.merged);
    return {};
  }

 private:
  struct Pair {
    int32_t left = 0;
    int32_t right = 0;
    int32_t merged = 0;
  };

  Status Check() const {
    constexpr uint64_t kMaxWork = uint64_t{1} << 32;  // bytes that are hashed to find the pairs
    uint64_t work = 0;
    for (const std::string_view token : vocabulary_.tokens) {
      work += std::min<uint64_t>(token.size(), kMaxWork) * token.size();
      if (work > kMaxWork) return InvalidArgument("{}: the tokens are too long to find out which merge", kTokens);
    }
    if (vocabulary_.scores.empty()) {
      return InvalidArgument("{}: is missing, and there is no tokenizer.ggml.merges either", kScores);
    }
    const auto odd = std::ranges::find_if(vocabulary_.scores, [](double score) { return std::isnan(score); });
    if (odd == vocabulary_.scores.end()) return {};
    return InvalidArgument("{}[{}]: is not a number", kScores, odd - vocabulary_.scores.begin());
  }

  bool IsPiece(int32_t id) const { return is_piece_[static_cast<size_t>(id)]; }

  void AddPairsOf(int32_t merged) {
    const std::string_view text = vocabulary_.tokens[static_cast<size_t>(merged)];
    const auto first = static_cast<std::ptrdiff_t>(pairs_.size());
    for (size_t cut = 1; cut < text.size(); ++cut) {
      if ((static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) continue;  // within a character
      const std::optional<int32_t> left = ids_.Find(text.substr(0, cut));
      if (!left || !IsPiece(*left)) continue;
      const std::optional<int32_t> right = ids_.Find(text.substr(cut));
      if (right && IsPiece(*right)) pairs_.push_back({.left = *left, .right = *right, .merged = merged});
    }
    std::sort(pairs_.begin() + first, pairs_.end(),
              [](const Pair& a, const Pair& b) { return std::pair(a.left, a.right) < std::pair(b.left, b.right); });
  }

  const GgufVocabulary& vocabulary_;
  const Vocabulary& ids_;
  std::vector<bool> is_piece_;  // by id
  std::vector<Pair> pairs_;
};

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
  QUIRE_RETURN_IF_ERROR(vocabulary.merges.empty() ? ScoredMerges(vocabulary, builder.vocabulary()).AddTo(builder)
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
