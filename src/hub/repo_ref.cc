#include "hub/repo_ref.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"

namespace quire {
namespace {

constexpr size_t kMaxNameLength = 96;
constexpr size_t kMaxPathLength = 1024;

bool IsNameCharacter(unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.'; }

bool IsNamePart(std::string_view part) {
  const auto is_edge = [](char c) { return c == '-' || c == '.'; };
  return !part.empty() && !is_edge(part.front()) && !is_edge(part.back()) && std::ranges::all_of(part, IsNameCharacter);
}

bool IsRepoId(std::string_view id) {
  if (id.size() > kMaxNameLength || id.ends_with(".git")) return false;
  if (id.find("--") != id.npos || id.find("..") != id.npos) return false;
  const size_t slash = id.find('/');
  if (slash == id.npos) return IsNamePart(id);
  return IsNamePart(id.substr(0, slash)) && IsNamePart(id.substr(slash + 1));
}

std::string_view WithoutPrefix(std::string_view text) {
  for (const std::string_view prefix :
       {"https://huggingface.co/", "https://hf.co/", "huggingface.co/", "hf.co/", "hf://"}) {
    if (text.starts_with(prefix)) return text.substr(prefix.size());
  }
  return text;
}

}  // namespace

bool IsCommit(std::string_view text) {
  return text.size() == 40 && std::ranges::all_of(text, [](unsigned char c) { return std::isxdigit(c) != 0; });
}

bool IsSafePath(std::string_view path) {
  if (path.empty() || path.size() > kMaxPathLength || path.back() == '/') return false;
  if (std::ranges::any_of(path, [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '\\'; })) return false;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

Result<RepoRef> ParseRepoRef(std::string_view text, std::string_view revision) {
  const std::string_view name = WithoutPrefix(text);
  RepoRef ref;
  size_t at = std::min(name.find_first_of("@:"), name.size());
  ref.repo_id = name.substr(0, at);
  if (!IsRepoId(ref.repo_id)) {
    return InvalidArgument("\"{}\" is no name of a model on the hub: such a name is org/name[@revision][:quantisation]",
                           text);
  }
  bool has_revision = false;
  while (at < name.size()) {
    const bool is_revision = name[at] == '@';
    const size_t end = std::min(name.find_first_of("@:", at + 1), name.size());
    const std::string_view value = name.substr(at + 1, end - at - 1);
    const bool is_repeated = is_revision ? has_revision : !ref.selector.empty();
    if (is_repeated || !IsSafePath(value)) {
      return InvalidArgument("\"{}\": the {} is \"{}\": write org/name[@revision][:quantisation], each once", text,
                             is_revision ? "revision" : "quantisation", value);
    }
    (is_revision ? ref.revision : ref.selector) = value;
    has_revision |= is_revision;
    at = end;
  }
  if (has_revision && revision != "main" && revision != ref.revision) {
    return InvalidArgument("\"{}\" names another revision than {}", text, revision);
  }
  if (!has_revision) ref.revision = revision;
  if (!IsSafePath(ref.revision)) return InvalidArgument("the revision \"{}\" is none", revision);
  return ref;
}

std::string FormatRepoRef(const RepoRef& ref) {
  return fmt::format("{}{}{}{}{}", ref.repo_id, ref.revision == "main" ? "" : "@",
                     ref.revision == "main" ? "" : ref.revision, ref.selector.empty() ? "" : ":", ref.selector);
}

}  // namespace quire
