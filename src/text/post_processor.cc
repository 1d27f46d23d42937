#include "text/post_processor.h"

#include <algorithm>

#include "base/error.h"
#include "text/vocabulary.h"

namespace quire::text {
namespace {

using Templates = std::vector<TokenTemplate>;

// Of a template; and of all templates together, how often they repeat what was encoded. Real ones add two tokens.
constexpr size_t kMaxTokens = 4096;
constexpr int64_t kMaxRepeats = 16;

Result<int32_t> ParseId(const JsonNode& node) {
  QUIRE_ASSIGN_OR_RETURN(const int64_t id, node.AsInt());
  if (id < 0 || id > Vocabulary::kMaxId) return node.Complain(fmt::format("{} is not a token id", id));
  return static_cast<int32_t>(id);
}

// "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}.
Status AppendSpecialToken(const JsonNode& processor, const JsonNode& piece, TokenTemplate& tokens) {
  QUIRE_ASSIGN_OR_RETURN(const JsonNode name_node, piece.Get("id"));
  QUIRE_ASSIGN_OR_RETURN(const std::string_view name, name_node.AsString());
  QUIRE_ASSIGN_OR_RETURN(const JsonNode all, processor.Get("special_tokens"));
  QUIRE_ASSIGN_OR_RETURN(const JsonNode token, all.Get(name));
  QUIRE_ASSIGN_OR_RETURN(const JsonNode ids, token.Get("ids"));
  return ids.ForEachElement([&](const JsonNode& node) -> Status {
    QUIRE_ASSIGN_OR_RETURN(const int32_t id, ParseId(node));
    if (tokens.size() == kMaxTokens) return node.Complain(fmt::format("the template has over {} tokens", kMaxTokens));
    tokens.push_back(id);
    return {};
  });
}

Result<TokenTemplate> ParseTemplate(const JsonNode& processor) {
  TokenTemplate tokens;
  QUIRE_ASSIGN_OR_RETURN(const JsonNode pieces, processor.Get("single"));
  QUIRE_RETURN_IF_ERROR(pieces.ForEachElement([&](const JsonNode& piece) -> Status {
    if (const std::optional<JsonNode> special = piece.Find("SpecialToken")) {
      return AppendSpecialToken(processor, *special, tokens);
    }
    if (!piece.Find("Sequence")) return piece.Complain("must be a SpecialToken or a Sequence");
    if (tokens.size() == kMaxTokens) return piece.Complain(fmt::format("the template has over {} tokens", kMaxTokens));
    tokens.push_back(kSequence);
    return {};
  }));
  return tokens;
}

// "cls": ["<s>", 0].
Result<int32_t> ParseNamedId(const JsonNode& processor, std::string_view key) {
  QUIRE_ASSIGN_OR_RETURN(const JsonNode pair, processor.Get(key));
  int32_t id = -1;
  int count = 0;
  QUIRE_RETURN_IF_ERROR(pair.ForEachElement([&](const JsonNode& node) -> Status {
    if (count++ != 1) return {};
    QUIRE_ASSIGN_OR_RETURN(id, ParseId(node));
    return {};
  }));
  if (id < 0) return pair.Complain("must be a token and its id");
  return id;
}

Status AppendTemplates(const JsonNode& node, Templates& templates) {
  QUIRE_ASSIGN_OR_RETURN(const JsonNode type_node, node.Get("type"));
  QUIRE_ASSIGN_OR_RETURN(const std::string_view type, type_node.AsString());
  if (type == "ByteLevel") return {};  // changes offsets only
  if (type == "Sequence") {
    QUIRE_ASSIGN_OR_RETURN(const JsonNode members, node.Get("processors"));
    return members.ForEachElement([&](const JsonNode& member) { return AppendTemplates(member, templates); });
  }
  if (type == "TemplateProcessing") {
    QUIRE_ASSIGN_OR_RETURN(TokenTemplate tokens, ParseTemplate(node));
    templates.push_back(std::move(tokens));
    return {};
  }
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    QUIRE_ASSIGN_OR_RETURN(const int32_t begin, ParseNamedId(node, "cls"));
    QUIRE_ASSIGN_OR_RETURN(const int32_t end, ParseNamedId(node, "sep"));
    templates.push_back({begin, kSequence, end});
    return {};
  }
  return Unimplemented("{}: post-processor \"{}\" is not supported", node.Path(), type);
}

}  // namespace

Result<Templates> ParsePostProcessors(const JsonNode& node) {
  Templates templates;
  QUIRE_RETURN_IF_ERROR(AppendTemplates(node, templates));
  int64_t repeats = 1;
  for (const TokenTemplate& tokens : templates) {
    repeats *= std::max<int64_t>(std::ranges::count(tokens, kSequence), 1);
    if (repeats > kMaxRepeats) {
      return node.Complain(fmt::format("its templates repeat the text over {} times", kMaxRepeats));
    }
  }
  return templates;
}

std::vector<int32_t> ApplyTemplate(const TokenTemplate& tokens, const std::vector<int32_t>& ids) {
  std::vector<int32_t> out;
  out.reserve(ids.size() + tokens.size());
  for (const int32_t token : tokens) {
    if (token == kSequence) {
      out.insert(out.end(), ids.begin(), ids.end());
    } else {
      out.push_back(token);
    }
  }
  return out;
}

}  // namespace quire::text
