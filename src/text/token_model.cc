#include "text/token_model.h"

#include "base/error.h"
#include "text/bpe_model.h"

namespace quire::text {
namespace {

// Older files do not name the type: each model has members of its own.
std::string GuessType(const JsonNode& node) {
  if (node.Find("merges")) return "BPE";
  if (node.Find("continuing_subword_prefix")) return "WordPiece";
  const std::optional<JsonNode> vocab = node.Find("vocab");
  return vocab && vocab->IsArray() ? "Unigram" : "WordLevel";
}

}  // namespace

Result<std::unique_ptr<const TokenModel>> ParseTokenModel(const JsonNode& node, bool pieces_are_bytes) {
  QUIRE_ASSIGN_OR_RETURN(const std::string type, node.StringOr("type", GuessType(node)));
  if (type == "BPE") return BpeModel::Parse(node, pieces_are_bytes);
  return Unimplemented("{}: model type \"{}\" is not supported, only BPE", node.Path(), type);
}

}  // namespace quire::text
