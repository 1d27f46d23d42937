#include "text/pre_tokenizer.h"

#include <utility>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/pattern.h"
#include "text/unicode_class.h"
#include "text/utf8.h"

namespace quire::text {
namespace {

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class SplitByRegex final : public PreTokenizer {
 public:
  SplitByRegex(Regex regex, SplitBehavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}

  Status Apply(Pieces& pieces) const override {
    std::vector<Span> out;
    out.reserve(std::max(pieces.spans.size(), pieces.text.size() / 4));
    RegexScanner scanner(regex_);
    std::vector<SplitPart> parts;
    for (const Span span : pieces.spans) {
      if (behavior_ == SplitBehavior::kIsolated) {
        QUIRE_RETURN_IF_ERROR(Isolate(pieces, span, scanner, out));
      } else {
        QUIRE_RETURN_IF_ERROR(CollectParts(pieces, span, scanner, parts));
        AppendSplit(parts, behavior_, out);
      }
    }
    pieces.spans = std::move(out);
    return {};
  }

 private:
  // The frequent behaviour, where it does not matter which part is a match.
  static Status Isolate(const Pieces& pieces, Span span, RegexScanner& scanner, std::vector<Span>& out) {
    size_t at = span.begin;
    const auto cut = [&](size_t to) {
      if (at < to) out.push_back({at, to});
      at = to;
    };
    scanner.Reset(pieces.At(span));
    while (scanner.Next()) {
      cut(span.begin + scanner.begin());
      cut(span.begin + scanner.end());
    }
    cut(span.end);
    return scanner.status();
  }

  Status CollectParts(const Pieces& pieces, Span span, RegexScanner& scanner, std::vector<SplitPart>& parts) const {
    parts.clear();
    size_t at = span.begin;
    scanner.Reset(pieces.At(span));
    while (scanner.Next()) {
      const size_t begin = span.begin + scanner.begin();
      if (at < begin) parts.push_back({{at, begin}, invert_});
      at = span.begin + scanner.end();
      parts.push_back({{begin, at}, !invert_});
    }
    if (at < span.end) parts.push_back({{at, span.end}, invert_});
    return scanner.status();
  }

  Regex regex_;
  SplitBehavior behavior_;
  bool invert_;
};

class SplitByCharacter final : public PreTokenizer {
 public:
  using Predicate = bool (*)(char32_t);
  SplitByCharacter(Predicate is_delimiter, SplitBehavior behavior) : is_delimiter_(is_delimiter), behavior_(behavior) {}

  Status Apply(Pieces& pieces) const override {
    std::vector<Span> out;
    for (const Span span : pieces.spans) {
      AppendSplit(PartsByCharacter(pieces.At(span), span.begin, is_delimiter_), behavior_, out);
    }
    pieces.spans = std::move(out);
    return {};
  }

 private:
  Predicate is_delimiter_;
  SplitBehavior behavior_;
};

// Words and runs of what is neither word nor white space; white space is dropped.
class WordsAndPunctuation final : public PreTokenizer {
 public:
  Status Apply(Pieces& pieces) const override {
    std::vector<Span> out;
    for (const Span span : pieces.spans) Cut(pieces, span, out);
    pieces.spans = std::move(out);
    return {};
  }

 private:
  enum class Kind { kSpace, kWord, kOther };
  static Kind KindOf(char32_t c) {
    if (IsWordCharacter(c)) return Kind::kWord;
    return IsWhitespace(c) ? Kind::kSpace : Kind::kOther;
  }

  static void Cut(const Pieces& pieces, Span span, std::vector<Span>& out) {
    Kind kind = Kind::kSpace;
    size_t open = span.begin;
    for (size_t at = span.begin; at < span.end;) {
      const CodePoint code_point = DecodeUtf8(pieces.text, at);
      const Kind next = KindOf(code_point.value);
      if (next != kind) {
        if (kind != Kind::kSpace) out.push_back({open, at});
        kind = next;
        open = at;
      }
      at += code_point.length;
    }
    if (kind != Kind::kSpace) out.push_back({open, span.end});
  }
};

// Steps that change the text of the pieces: rebuilds it piece by piece.
template <typename AppendPiece>
void Rewrite(Pieces& pieces, const AppendPiece& append) {
  std::string text;
  text.reserve(pieces.text.size() + pieces.text.size() / 2);
  for (Span& span : pieces.spans) {
    const size_t begin = text.size();
    append(span, text);
    span = {begin, text.size()};
  }
  pieces.text = std::move(text);
}

class PrefixSpace final : public PreTokenizer {
 public:
  Status Apply(Pieces& pieces) const override {
    Rewrite(pieces, [&](Span span, std::string& text) {
      const std::string_view piece = pieces.At(span);
      if (!piece.starts_with(' ')) text.push_back(' ');
      text.append(piece);
    });
    return {};
  }
};

class BytesToAlphabet final : public PreTokenizer {
 public:
  Status Apply(Pieces& pieces) const override {
    Rewrite(pieces, [&](Span span, std::string& text) { AppendByteLevel(pieces.At(span), text); });
    return {};
  }
};

enum class PrependScheme { kAlways, kFirst, kNever };

// SentencePiece's spelling of spaces: "▁" for each, and perhaps one in front.
class Metaspace final : public PreTokenizer {
 public:
  Metaspace(std::string mark, PrependScheme scheme) : mark_(std::move(mark)), scheme_(scheme) {}

  Status Apply(Pieces& pieces) const override {
    Rewrite(pieces, [&](Span span, std::string& text) {
      const std::string_view piece = pieces.At(span);
      const bool is_first = pieces.starts_input && span.begin == 0;
      const bool wants = scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && is_first);
      if (wants && !piece.starts_with(' ') && !piece.starts_with(mark_)) text.append(mark_);
      for (const char c : piece) {
        if (c == ' ') {
          text.append(mark_);
        } else {
          text.push_back(c);
        }
      }
    });
    return {};
  }

 private:
  std::string mark_;
  PrependScheme scheme_;
};

Result<SplitBehavior> ParseBehavior(const JsonNode& node, std::string_view fallback) {
  QUIRE_ASSIGN_OR_RETURN(const std::string name, node.StringOr("behavior", fallback));
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return InvalidArgument(
      "{}.behavior: \"{}\" is none of Removed, Isolated, MergedWithPrevious, MergedWithNext, "
      "Contiguous",
      node.Path(), name);
}

Result<PrependScheme> ParsePrependScheme(const JsonNode& node) {
  QUIRE_ASSIGN_OR_RETURN(const bool add_prefix_space, node.BoolOr("add_prefix_space", true));
  QUIRE_ASSIGN_OR_RETURN(const std::string name,
                         node.StringOr("prepend_scheme", add_prefix_space ? "always" : "never"));
  if (name == "always") return PrependScheme::kAlways;
  if (name == "first") return PrependScheme::kFirst;
  if (name == "never") return PrependScheme::kNever;
  return InvalidArgument("{}.prepend_scheme: \"{}\" is none of always, first, never", node.Path(), name);
}

class ChainParser {
 public:
  explicit ChainParser(std::optional<bool> prefix_space) : prefix_space_(prefix_space) {}

  Status Append(const JsonNode& node) {
    QUIRE_ASSIGN_OR_RETURN(const JsonNode type_node, node.Get("type"));
    QUIRE_ASSIGN_OR_RETURN(const std::string_view type, type_node.AsString());
    if (type == "Sequence") {
      QUIRE_ASSIGN_OR_RETURN(const JsonNode members, node.Get("pretokenizers"));
      return members.ForEachElement([&](const JsonNode& member) { return Append(member); });
    }
    KeepText();
    if (type == "ByteLevel") return AppendByteLevelSteps(node);
    if (type == "Split") return AppendSplitStep(node);
    if (type == "Metaspace") return AppendMetaspaceSteps(node);
    if (type == "Digits") return AppendDigits(node);
    if (type == "Punctuation") return AppendPunctuation(node);
    return AppendPlain(node, type);
  }

  PreTokenizerChain Take() { return std::move(chain_); }

 private:
  template <typename Step, typename... Args>
  void Add(Args&&... args) {
    chain_.steps.push_back(std::make_unique<Step>(std::forward<Args>(args)...));
  }

  // Another step follows one that would leave bytes: it must see the alphabet's characters.
  void KeepText() {
    if (chain_.leaves_bytes) Add<BytesToAlphabet>();
    chain_.leaves_bytes = false;
  }

  Status AppendByteLevelSteps(const JsonNode& node) {
    QUIRE_ASSIGN_OR_RETURN(const bool add_prefix_space, node.BoolOr("add_prefix_space", true));
    QUIRE_ASSIGN_OR_RETURN(const bool use_regex, node.BoolOr("use_regex", true));
    if (prefix_space_.value_or(add_prefix_space)) Add<PrefixSpace>();
    if (use_regex) {
      QUIRE_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(kGpt2Pattern));
      Add<SplitByRegex>(std::move(regex), SplitBehavior::kIsolated, false);
    }
    chain_.leaves_bytes = true;
    return {};
  }

  Status AppendSplitStep(const JsonNode& node) {
    QUIRE_ASSIGN_OR_RETURN(const JsonNode pattern_node, node.Get("pattern"));
    QUIRE_ASSIGN_OR_RETURN(const SplitBehavior behavior, ParseBehavior(node, "Isolated"));
    QUIRE_ASSIGN_OR_RETURN(const bool invert, node.BoolOr("invert", false));
    QUIRE_ASSIGN_OR_RETURN(Pattern pattern, Pattern::Parse(pattern_node));
    Add<SplitByRegex>(std::move(pattern).TakeRegex(), behavior, invert);
    return {};
  }

  Status AppendMetaspaceSteps(const JsonNode& node) {
    QUIRE_ASSIGN_OR_RETURN(const std::string mark, node.StringOr("replacement", "\xE2\x96\x81"));
    QUIRE_ASSIGN_OR_RETURN(const PrependScheme scheme, ParsePrependScheme(node));
    QUIRE_ASSIGN_OR_RETURN(const bool split, node.BoolOr("split", true));
    if (mark.empty() || DecodeUtf8(mark, 0).length != mark.size()) {
      return InvalidArgument("{}.replacement: must be one character", node.Path());
    }
    Add<Metaspace>(mark, scheme);
    if (split) {
      QUIRE_ASSIGN_OR_RETURN(Regex regex, Regex::CompileLiteral(mark));
      Add<SplitByRegex>(std::move(regex), SplitBehavior::kMergedWithNext, false);
    }
    return {};
  }

  Status AppendDigits(const JsonNode& node) {
    QUIRE_ASSIGN_OR_RETURN(const bool individual, node.BoolOr("individual_digits", false));
    Add<SplitByCharacter>(&IsNumeric, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
    return {};
  }

  Status AppendPunctuation(const JsonNode& node) {
    QUIRE_ASSIGN_OR_RETURN(const SplitBehavior behavior, ParseBehavior(node, "Isolated"));
    Add<SplitByCharacter>(&IsPunctuation, behavior);
    return {};
  }

  Status AppendPlain(const JsonNode& node, std::string_view type) {
    if (type == "Whitespace") {
      Add<WordsAndPunctuation>();
    } else if (type == "WhitespaceSplit") {
      Add<SplitByCharacter>(&IsWhitespace, SplitBehavior::kRemoved);
    } else if (type == "BertPreTokenizer") {
      Add<SplitByCharacter>(&IsWhitespace, SplitBehavior::kRemoved);
      Add<SplitByCharacter>(&IsPunctuation, SplitBehavior::kIsolated);
    } else {
      return Unimplemented("{}: pre-tokenizer \"{}\" is not supported", node.Path(), type);
    }
    return {};
  }

  std::optional<bool> prefix_space_;
  PreTokenizerChain chain_;
};

}  // namespace

Result<PreTokenizerChain> ParsePreTokenizers(const JsonNode& node, std::optional<bool> prefix_space) {
  ChainParser parser(prefix_space);
  QUIRE_RETURN_IF_ERROR(parser.Append(node));
  return parser.Take();
}

Result<PreTokenizerChain> SplitByPatterns(std::span<const std::string_view> patterns,
                                          std::span<const std::string_view> spelled_patterns) {
  PreTokenizerChain chain{.steps = {}, .leaves_bytes = spelled_patterns.empty()};
  const auto append = [&](std::string_view pattern) -> Status {
    QUIRE_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern));
    chain.steps.push_back(std::make_unique<SplitByRegex>(std::move(regex), SplitBehavior::kIsolated, false));
    return {};
  };
  for (const std::string_view pattern : patterns) QUIRE_RETURN_IF_ERROR(append(pattern));
  if (!chain.leaves_bytes) chain.steps.push_back(std::make_unique<BytesToAlphabet>());
  for (const std::string_view pattern : spelled_patterns) QUIRE_RETURN_IF_ERROR(append(pattern));
  return chain;
}

}  // namespace quire::text
