#include "text/tokenizer_settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <set>
#include <utility>

#include "base/env.h"
#include "base/error.h"
#include "text/json_file.h"
#include "text/special_tokens.h"

namespace quire::text {
namespace {

constexpr std::array kRoles = {"bos_token", "eos_token", "unk_token", "sep_token",
                               "pad_token", "cls_token", "mask_token"};

using Role = std::pair<std::string, AddedToken>;  // "eos_token" and its token

// Its place among kRoles; after them if it is none.
size_t Rank(const Role& role) {
  return static_cast<size_t>(std::find(kRoles.begin(), kRoles.end(), role.first) - kRoles.begin());
}

// Null, or an object whose text is null.
bool NamesNothing(const JsonNode& node) {
  if (!node.IsObject()) return node.IsNull();
  const Result<JsonNode> content = node.Get("content");
  return content.ok() && content->IsNull();
}

// A token with a role: its text, or an object with its text and flags.
Result<AddedToken> ParseRoleToken(const JsonNode& node) {
  AddedToken token;
  if (node.IsObject()) {
    QUIRE_ASSIGN_OR_RETURN(token, ParseAddedToken(node));
    QUIRE_ASSIGN_OR_RETURN(token.normalized, node.BoolOr("normalized", false));
  } else {
    QUIRE_ASSIGN_OR_RETURN(const std::string_view content, node.AsString());
    token.content = content;
  }
  token.special = true;
  return token;
}

class SettingsReader {
 public:
  SettingsReader(const std::string& directory, const std::string& padding_token)
      : directory_(directory), padding_token_(padding_token) {}

  Result<TokenizerSettings> Read() {
    QUIRE_ASSIGN_OR_RETURN(const std::optional<JsonFile> config,
                           JsonFile::OpenIfThere(directory_, "tokenizer_config.json"));
    QUIRE_ASSIGN_OR_RETURN(const std::optional<JsonFile> map,
                           JsonFile::OpenIfThere(directory_, "special_tokens_map.json"));
    QUIRE_ASSIGN_OR_RETURN(const std::optional<JsonFile> added, JsonFile::OpenIfThere(directory_, "added_tokens.json"));
    if (config) QUIRE_RETURN_IF_ERROR(config->Named(ReadDecoderTokens(config->root())));
    if (config) QUIRE_RETURN_IF_ERROR(config->Named(CollectTokens(config->root())));
    // What follows is the older layout, which the table of ids replaced.
    if (!has_table_ && map) QUIRE_RETURN_IF_ERROR(map->Named(CollectTokens(map->root())));
    if (!has_table_ && added) QUIRE_RETURN_IF_ERROR(added->Named(ReadAddedTokensJson(added->root())));
    QUIRE_RETURN_IF_ERROR(AddRolesOfTheClass());
    if (config) QUIRE_RETURN_IF_ERROR(config->Named(ReadFlags(config->root())));
    return Finish();
  }

 private:
  // "added_tokens_decoder": {"3": {"content": ..}}: by id, whatever the order of the file.
  Status ReadDecoderTokens(const JsonNode& config) {
    const std::optional<JsonNode> table = config.Find("added_tokens_decoder");
    if (!table) return {};
    has_table_ = true;
    return table->ForEachMember([&](std::string_view key, const JsonNode& node) -> Status {
      QUIRE_ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(node));
      int64_t id = 0;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      if (error != std::errc() || end != key.data() + key.size()) {
        return node.Complain(fmt::format("\"{}\" is not a token id", key));
      }
      by_id_.insert_or_assign(id, std::move(token));
      return {};
    });
  }

  // {"<tool>": 32000}: plain tokens by id, special if they have a role.
  Status ReadAddedTokensJson(const JsonNode& tokens) {
    const std::set<std::string_view> with_roles = ContentsWithRoles();
    return tokens.ForEachMember([&](std::string_view content, const JsonNode& node) -> Status {
      QUIRE_ASSIGN_OR_RETURN(const int64_t id, node.AsInt());
      const bool special = with_roles.contains(content);
      by_id_.insert_or_assign(id,
                              AddedToken{.content = std::string(content), .special = special, .normalized = !special});
      return {};
    });
  }

  // Tokens with roles and further special ones. A later file says it anew.
  Status CollectTokens(const JsonNode& file) {
    QUIRE_RETURN_IF_ERROR(file.ForEachMember([&](std::string_view key, const JsonNode& node) -> Status {
      const bool has_role = std::find(kRoles.begin(), kRoles.end(), key) != kRoles.end();
      const bool names_token = key.ends_with("_token") && (node.IsString() || node.IsObject());
      if (NamesNothing(node) || !(has_role || names_token)) return {};
      QUIRE_ASSIGN_OR_RETURN(AddedToken token, ParseRoleToken(node));
      SetRole(std::string(key), std::move(token));
      return {};
    }));
    const auto lists = {file.Find("additional_special_tokens"), file.Find("extra_special_tokens")};
    if (std::any_of(lists.begin(), lists.end(), [](const auto& list) { return list.has_value(); })) more_.clear();
    for (const std::optional<JsonNode>& list : lists) {
      if (list) QUIRE_RETURN_IF_ERROR(CollectMore(*list));
    }
    return {};
  }

  // A list of tokens, or an object of tokens by name.
  Status CollectMore(const JsonNode& tokens) {
    if (tokens.IsObject()) {
      return tokens.ForEachMember([&](std::string_view name, const JsonNode& node) -> Status {
        QUIRE_ASSIGN_OR_RETURN(AddedToken token, ParseRoleToken(node));
        SetRole(std::string(name), std::move(token));
        return {};
      });
    }
    return tokens.ForEachElement([&](const JsonNode& node) -> Status {
      QUIRE_ASSIGN_OR_RETURN(AddedToken token, ParseRoleToken(node));
      more_.push_back(std::move(token));
      return {};
    });
  }

  void SetRole(std::string name, AddedToken token) {
    const auto [place, is_new] = role_index_.emplace(name, roles_.size());
    if (is_new) {
      roles_.emplace_back(std::move(name), std::move(token));
    } else {
      roles_[place->second].second = std::move(token);
    }
  }

  std::set<std::string_view> ContentsWithRoles() const {
    std::set<std::string_view> contents;
    for (const AddedToken& token : more_) contents.insert(token.content);
    for (const auto& [name, token] : roles_) contents.insert(token.content);
    return contents;
  }

  Status ReadFlags(const JsonNode& config) {
    QUIRE_ASSIGN_OR_RETURN(settings_.split_special_tokens, config.BoolOr("split_special_tokens", false));
    QUIRE_ASSIGN_OR_RETURN(settings_.prefix_space_rule, FindPrefixSpaceRule());
    const std::optional<JsonNode> prefix_space = config.Find("add_prefix_space");
    if (!prefix_space) return {};
    QUIRE_ASSIGN_OR_RETURN(settings_.add_prefix_space, prefix_space->AsBool());
    QUIRE_ASSIGN_OR_RETURN(settings_.legacy, config.BoolOr("legacy", false));
    return {};
  }

  Result<PrefixSpaceRule> FindPrefixSpaceRule() const {
    QUIRE_ASSIGN_OR_RETURN(const std::string name, LoadTokenizerClass(directory_));
    for (const char* byte_level : {"Qwen2Tokenizer", "GPT2Tokenizer", "CodeGenTokenizer"}) {
      if (name == byte_level) return PrefixSpaceRule::kByteLevel;
    }
    return name == "LlamaTokenizer" ? PrefixSpaceRule::kMetaspace : PrefixSpaceRule::kFile;
  }

  // Roles that no file fills, but the tokenizer's class.
  Status AddRolesOfTheClass() {
    QUIRE_ASSIGN_OR_RETURN(settings_.names, LoadSpecialTokens(directory_, padding_token_));
    for (const NamedToken& token : settings_.names) {
      if (role_index_.contains(token.name)) continue;
      SetRole(token.name, {.content = token.text, .special = true});
    }
    return {};
  }

  TokenizerSettings Finish() {
    for (auto& [id, token] : by_id_) settings_.tokens.push_back(std::move(token));
    // Roles in a fixed order, then the file's: tokens that the vocabulary lacks get their ids in this order.
    std::stable_sort(roles_.begin(), roles_.end(), [](const Role& a, const Role& b) { return Rank(a) < Rank(b); });
    for (const auto& [name, token] : roles_) {
      if (name == "eos_token") settings_.eos_token = token.content;
      settings_.special.push_back(token);
    }
    settings_.special.insert(settings_.special.end(), more_.begin(), more_.end());
    return std::move(settings_);
  }

  const std::string& directory_;
  const std::string& padding_token_;
  TokenizerSettings settings_;
  bool has_table_ = false;                    // added_tokens_decoder is there
  std::map<int64_t, AddedToken> by_id_;       // of added_tokens_decoder or added_tokens.json
  std::vector<Role> roles_;                   // in the order of the files
  std::map<std::string, size_t> role_index_;  // by name: where in roles_
  std::vector<AddedToken> more_;              // special tokens without a role
};

}  // namespace

Result<TokenizerSettings> ReadTokenizerSettings(const std::string& directory, const std::string& padding_token) {
  return SettingsReader(directory, padding_token).Read();
}

}  // namespace quire::text
