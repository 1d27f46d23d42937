// BpeModel::Parse: byte-pair encoding as tokenizer.json describes it.
#include <utility>

#include "base/error.h"
#include "text/bpe_model.h"

namespace quire::text {
namespace {

Result<BpeOptions> ReadOptions(const JsonNode& node, bool pieces_are_bytes) {
  BpeOptions options{.pieces_are_bytes = pieces_are_bytes};
  QUIRE_ASSIGN_OR_RETURN(options.continuing_subword_prefix, node.StringOr("continuing_subword_prefix", ""));
  QUIRE_ASSIGN_OR_RETURN(options.end_of_word_suffix, node.StringOr("end_of_word_suffix", ""));
  QUIRE_ASSIGN_OR_RETURN(options.fuse_unknown, node.BoolOr("fuse_unk", false));
  QUIRE_ASSIGN_OR_RETURN(options.byte_fallback, node.BoolOr("byte_fallback", false));
  QUIRE_ASSIGN_OR_RETURN(options.ignore_merges, node.BoolOr("ignore_merges", false));
  if (const std::optional<JsonNode> unknown = node.Find("unk_token")) {
    QUIRE_ASSIGN_OR_RETURN(options.unknown_token, unknown->AsString());
  }
  if (const std::optional<JsonNode> dropout = node.Find("dropout")) {
    QUIRE_ASSIGN_OR_RETURN(const double probability, dropout->AsNumber());
    if (probability != 0) return Unimplemented("{}: random dropout of merges", dropout->Path());
  }
  return options;
}

Status ReadVocabulary(const JsonNode& node, BpeModel::Builder& builder) {
  QUIRE_ASSIGN_OR_RETURN(const JsonNode vocab, node.Get("vocab"));
  return vocab.ForEachMember([&](std::string_view token, const JsonNode& member) -> Status {
    QUIRE_ASSIGN_OR_RETURN(const int64_t id, member.AsInt());
    if (id < 0 || id > Vocabulary::kMaxId) {
      return member.Complain(fmt::format("the id of \"{}\" is {}, not from 0 to {}", token, id, Vocabulary::kMaxId));
    }
    builder.AddToken(token, static_cast<int32_t>(id));
    return {};
  });
}

// "a b" or ["a", "b"].
Status ReadPair(const JsonNode& merge, std::string_view& left, std::string_view& right) {
  if (merge.IsString()) {
    QUIRE_ASSIGN_OR_RETURN(const std::string_view both, merge.AsString());
    const size_t space = both.find(' ');
    if (space == std::string_view::npos || both.find(' ', space + 1) != std::string_view::npos) {
      return merge.Complain(fmt::format("\"{}\" is not two tokens with a space between", both));
    }
    left = both.substr(0, space);
    right = both.substr(space + 1);
    return {};
  }
  int count = 0;
  QUIRE_RETURN_IF_ERROR(merge.ForEachElement([&](const JsonNode& side) -> Status {
    QUIRE_ASSIGN_OR_RETURN((count++ == 0 ? left : right), side.AsString());
    return {};
  }));
  return count == 2 ? Status() : merge.Complain("must be two tokens");
}

Status ReadMerges(const JsonNode& node, BpeModel::Builder& builder) {
  QUIRE_ASSIGN_OR_RETURN(const JsonNode merges, node.Get("merges"));
  size_t count = 0;
  QUIRE_RETURN_IF_ERROR(merges.ForEachElement([&](const JsonNode&) -> Status {
    ++count;
    return {};
  }));
  builder.BeginMerges(count);
  return merges.ForEachElement([&](const JsonNode& merge) -> Status {
    std::string_view left, right;
    QUIRE_RETURN_IF_ERROR(ReadPair(merge, left, right));
    const Status added = builder.AddMerge(left, right);
    return added.ok() ? added : merge.Complain(added.error().message);
  });
}

}  // namespace

Result<std::unique_ptr<const TokenModel>> BpeModel::Parse(const JsonNode& node, bool pieces_are_bytes) {
  QUIRE_ASSIGN_OR_RETURN(BpeOptions options, ReadOptions(node, pieces_are_bytes));
  Builder builder(std::move(options));
  QUIRE_RETURN_IF_ERROR(ReadVocabulary(node, builder));
  QUIRE_RETURN_IF_ERROR(ReadMerges(node, builder));
  return std::move(builder).Build();
}

}  // namespace quire::text
