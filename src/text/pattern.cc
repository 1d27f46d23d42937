#include "text/pattern.h"

namespace quire::text {
namespace {

std::string ReplaceLiteral(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  size_t at = 0;
  for (size_t found; (found = text.find(from, at)) != std::string_view::npos; at = found + from.size()) {
    out.append(text.substr(at, found - at)).append(to);
  }
  return out.append(text.substr(at));
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
  std::string out;
  size_t at = 0;
  RegexScanner scanner(regex_);
  scanner.Reset(text);
  while (scanner.Next()) {
    out.append(text.substr(at, scanner.begin() - at)).append(content);
    at = scanner.end();
  }
  if (!scanner.status().ok()) return scanner.status().error();
  return out.append(text.substr(at));
}

}  // namespace quire::text
