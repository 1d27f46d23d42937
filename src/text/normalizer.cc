#include "text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/pattern.h"
#include "text/unicode_class.h"
#include "text/utf8.h"

namespace quire::text {
namespace {

using Steps = std::vector<std::unique_ptr<const Normalizer>>;

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  Status Apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, prefix_);
    return {};
  }

 private:
  std::string prefix_;
};

class Replace final : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  Status Apply(std::string& text) const override {
    QUIRE_ASSIGN_OR_RETURN(text, pattern_.ReplaceAll(text, content_));
    return {};
  }

 private:
  Pattern pattern_;
  std::string content_;
};

// NFC, NFD, NFKC, NFKD (Unicode Standard Annex 15).
class UnicodeForm final : public Normalizer {
 public:
  // `inert_end`: no text of characters below it is changed.
  UnicodeForm(int options, char32_t inert_end) : options_(options), inert_end_(inert_end) {}

  Status Apply(std::string& text) const override {
    if (IsInert(text)) return {};
    utf8proc_uint8_t* mapped = nullptr;
    const utf8proc_ssize_t size =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                     &mapped, static_cast<utf8proc_option_t>(options_ | UTF8PROC_STABLE));
    if (size < 0) return Internal("normalizing the text: {}", utf8proc_errmsg(size));
    text.assign(reinterpret_cast<const char*>(mapped), static_cast<size_t>(size));
    std::free(mapped);
    return {};
  }

 private:
  bool IsInert(std::string_view text) const {
    for (size_t at = 0; at < text.size();) {
      const CodePoint code_point = DecodeUtf8(text, at);
      // Han ideographs are their own composition, whatever surrounds them.
      const bool is_han = code_point.value >= 0x4E00 && code_point.value <= 0x9FFF;
      if (code_point.value >= inert_end_ && !is_han) return false;
      at += code_point.length;
    }
    return true;
  }

  int options_;
  char32_t inert_end_;
};

class Lowercase final : public Normalizer {
 public:
  Status Apply(std::string& text) const override {
    constexpr char32_t kCapitalIWithDot = 0x130;  // the one character whose lower case is two
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      const CodePoint code_point = DecodeUtf8(text, at);
      if (code_point.value == kCapitalIWithDot) {
        out.append("i\xCC\x87");
      } else {
        AppendUtf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code_point.value))), out);
      }
      at += code_point.length;
    }
    text = std::move(out);
    return {};
  }
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  Status Apply(std::string& text) const override {
    size_t begin = 0;
    size_t end = text.size();
    while (left_ && begin < end && IsWhitespace(DecodeUtf8(text, begin).value)) {
      begin += DecodeUtf8(text, begin).length;
    }
    while (right_ && end > begin && IsWhitespace(DecodeUtf8Before(text, end).value)) {
      end -= DecodeUtf8Before(text, end).length;
    }
    text = text.substr(begin, end - begin);
    return {};
  }

 private:
  bool left_;
  bool right_;
};

class StripAccents final : public Normalizer {
 public:
  Status Apply(std::string& text) const override {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const CodePoint code_point = DecodeUtf8(text, at);
      if (!IsCombiningMark(code_point.value)) out.append(text, at, code_point.length);
      at += code_point.length;
    }
    text = std::move(out);
    return {};
  }
};

class ByteLevelNormalizer final : public Normalizer {
 public:
  Status Apply(std::string& text) const override {
    std::string out;
    AppendByteLevel(text, out);
    text = std::move(out);
    return {};
  }
};

Status AppendSteps(const JsonNode& node, Steps& steps);

Status AppendParametrized(const JsonNode& node, std::string_view type, Steps& steps) {
  if (type == "Sequence") {
    QUIRE_ASSIGN_OR_RETURN(const JsonNode members, node.Get("normalizers"));
    return members.ForEachElement([&](const JsonNode& member) { return AppendSteps(member, steps); });
  }
  if (type == "Prepend") {
    QUIRE_ASSIGN_OR_RETURN(const JsonNode prefix_node, node.Get("prepend"));
    QUIRE_ASSIGN_OR_RETURN(const std::string_view prefix, prefix_node.AsString());
    steps.push_back(std::make_unique<Prepend>(std::string(prefix)));
    return {};
  }
  if (type == "Replace") {
    QUIRE_ASSIGN_OR_RETURN(const JsonNode pattern_node, node.Get("pattern"));
    QUIRE_ASSIGN_OR_RETURN(Pattern pattern, Pattern::Parse(pattern_node));
    QUIRE_ASSIGN_OR_RETURN(const JsonNode content_node, node.Get("content"));
    QUIRE_ASSIGN_OR_RETURN(const std::string_view content, content_node.AsString());
    steps.push_back(std::make_unique<Replace>(std::move(pattern), std::string(content)));
    return {};
  }
  if (type == "Strip") {
    QUIRE_ASSIGN_OR_RETURN(const bool left, node.BoolOr("strip_left", true));
    QUIRE_ASSIGN_OR_RETURN(const bool right, node.BoolOr("strip_right", true));
    steps.push_back(std::make_unique<Strip>(left, right));
    return {};
  }
  return Unimplemented("{}: normalizer \"{}\" is not supported", node.Path(), type);
}

Status AppendSteps(const JsonNode& node, Steps& steps) {
  constexpr char32_t kFirstComposing = 0x300, kFirstDecomposing = 0xC0, kFirstCompatible = 0xA0;
  QUIRE_ASSIGN_OR_RETURN(const JsonNode type_node, node.Get("type"));
  QUIRE_ASSIGN_OR_RETURN(const std::string_view type, type_node.AsString());
  if (type == "NFC") {
    steps.push_back(std::make_unique<UnicodeForm>(UTF8PROC_COMPOSE, kFirstComposing));
  } else if (type == "NFD") {
    steps.push_back(std::make_unique<UnicodeForm>(UTF8PROC_DECOMPOSE, kFirstDecomposing));
  } else if (type == "NFKC") {
    steps.push_back(std::make_unique<UnicodeForm>(UTF8PROC_COMPOSE | UTF8PROC_COMPAT, kFirstCompatible));
  } else if (type == "NFKD") {
    steps.push_back(std::make_unique<UnicodeForm>(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, kFirstCompatible));
  } else if (type == "Lowercase") {
    steps.push_back(std::make_unique<Lowercase>());
  } else if (type == "StripAccents") {
    steps.push_back(std::make_unique<StripAccents>());
  } else if (type == "ByteLevel") {
    steps.push_back(std::make_unique<ByteLevelNormalizer>());
  } else {
    return AppendParametrized(node, type, steps);
  }
  return {};
}

}  // namespace

Status Normalize(const Steps& steps, std::string& text) {
  const size_t max_bytes = MaxGrownBytes(text.size());
  for (const auto& step : steps) {
    QUIRE_RETURN_IF_ERROR(step->Apply(text));
    if (text.size() > max_bytes) {
      return InvalidArgument("the tokenizer's normalizer makes more than {} bytes of a text", max_bytes);
    }
  }
  return {};
}

Result<Steps> ParseNormalizers(const JsonNode& node) {
  Steps steps;
  QUIRE_RETURN_IF_ERROR(AppendSteps(node, steps));
  return steps;
}

}  // namespace quire::text
