#include "text/pattern.h"

#include <utility>

#include "base/error.h"

namespace quire::text {
namespace {

// A text that is put together in the place of another one.
class GrowingText {
 public:
  explicit GrowingText(std::string_view from) : max_bytes_(MaxGrownBytes(from.size())) {
    out_.reserve(from.size() + from.size() / 4);
  }

  Status Append(std::string_view piece) {
    if (piece.size() > max_bytes_ - out_.size()) {
      return InvalidArgument("replacing what the tokenizer says makes more than {} bytes of a text", max_bytes_);
    }
    out_.append(piece);
    return {};
  }
  std::string Take() { return std::move(out_); }

 private:
  size_t max_bytes_;
  std::string out_;
};

Result<std::string> ReplaceLiteral(std::string_view text, std::string_view from, std::string_view to) {
  GrowingText out(text);
  size_t at = 0;
  for (size_t found; (found = text.find(from, at)) != std::string_view::npos; at = found + from.size()) {
    QUIRE_RETURN_IF_ERROR(out.Append(text.substr(at, found - at)));
    QUIRE_RETURN_IF_ERROR(out.Append(to));
  }
  QUIRE_RETURN_IF_ERROR(out.Append(text.substr(at)));
  return out.Take();
}

}  // namespace

Result<Pattern> Pattern::Parse(const JsonNode& node) {
  if (const std::optional<JsonNode> regex_node = node.Find("Regex")) {
    QUIRE_ASSIGN_OR_RETURN(const std::string_view source, regex_node->AsString());
    Result<Regex> regex = Regex::Compile(source);
    if (!regex.ok()) return Error{regex.error().code, regex_node->Complain(regex.error().message).message};
    return Pattern(*std::move(regex));
  }
  QUIRE_ASSIGN_OR_RETURN(const JsonNode literal_node, node.Get("String"));
  QUIRE_ASSIGN_OR_RETURN(const std::string_view literal, literal_node.AsString());
  if (literal.empty()) return literal_node.Complain("must not be empty");
  QUIRE_ASSIGN_OR_RETURN(Regex regex, Regex::CompileLiteral(literal));
  Pattern pattern(std::move(regex));
  pattern.literal_ = std::string(literal);
  return pattern;
}

Result<std::string> Pattern::ReplaceAll(std::string_view text, std::string_view content) const {
  if (literal_) return ReplaceLiteral(text, *literal_, content);
  GrowingText out(text);
  size_t at = 0;
  RegexScanner scanner(regex_);
  scanner.Reset(text);
  while (scanner.Next()) {
    QUIRE_RETURN_IF_ERROR(out.Append(text.substr(at, scanner.begin() - at)));
    QUIRE_RETURN_IF_ERROR(out.Append(content));
    at = scanner.end();
  }
  if (!scanner.status().ok()) return scanner.status().error();
  QUIRE_RETURN_IF_ERROR(out.Append(text.substr(at)));
  return out.Take();
}

}  // namespace quire::text
