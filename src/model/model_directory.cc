// Finds the directory of a model: a path, or a name in the local Hugging Face cache, whose layout is
// models--<org>--<name>/{refs/main, snapshots/<commit>/}.
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/error.h"
#include "model/model_config.h"

namespace quire {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The home of a user, or of whoever runs this; empty if there is none.
std::string HomeOf(const std::string& user) {
  if (user.empty()) {
    if (std::string home = Variable("HOME"); !home.empty()) return home;
  }
  const passwd* entry = user.empty() ? getpwuid(getuid()) : getpwnam(user.c_str());
  return entry == nullptr ? "" : entry->pw_dir;
}

// "~" and "~user" at the front, as Python's expanduser.
std::string ExpandHome(const std::string& path) {
  if (!path.starts_with('~')) return path;
  const size_t end = std::min(path.find('/'), path.size());
  const std::string home = HomeOf(path.substr(1, end - 1));
  return home.empty() ? path : home + path.substr(end);
}

// $NAME and ${NAME}, as Python's expandvars: what is not set stays as it is.
std::string ExpandVariables(const std::string& path) {
  std::string out;
  for (size_t at = 0; at < path.size();) {
    const bool braced = path.compare(at, 2, "${") == 0;
    const size_t begin = at + (braced ? 2 : 1);
    size_t end = begin;
    const auto is_name = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; };
    while (end < path.size() && (braced ? path[end] != '}' : is_name(static_cast<unsigned char>(path[end])))) ++end;
    const bool complete = path[at] == '$' && end > begin && (!braced || end < path.size());
    const char* value = complete ? std::getenv(path.substr(begin, end - begin).c_str()) : nullptr;
    if (value != nullptr) {
      out += value;
      at = end + (braced ? 1 : 0);
    } else {
      out += path[at++];
    }
  }
  return out;
}

// In the order in which Hugging Face's own tools look, which expand "~" and variables in each.
std::string HubCacheDirectory() {
  const auto expanded = [](const std::string& path) { return ExpandVariables(ExpandHome(path)); };
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string path = Variable(name); !path.empty()) return expanded(path);
  }
  if (const std::string home = Variable("HF_HOME"); !home.empty()) return JoinPath(expanded(home), "hub");
  const std::string cache = Variable("XDG_CACHE_HOME");
  return JoinPath(expanded(cache.empty() ? "~/.cache" : cache), "huggingface/hub");
}

bool IsNamePart(const std::string& part) {
  const auto allowed = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.'; };
  return !part.empty() && part.size() <= 96 && part.front() != '.' && std::all_of(part.begin(), part.end(), allowed);
}

// "org/model", or a bare "model".
bool IsHubName(const std::string& name) {
  const size_t slash = name.find('/');
  if (slash == std::string::npos) return IsNamePart(name);
  return IsNamePart(name.substr(0, slash)) && IsNamePart(name.substr(slash + 1));
}

std::string CacheFolderName(const std::string& hub_name) {
  std::string folder = "models--" + hub_name;
  if (const size_t slash = folder.find('/'); slash != std::string::npos) folder.replace(slash, 1, "--");
  return folder;
}

std::string Stripped(std::string text) {
  const auto is_space = [](unsigned char c) { return std::isspace(c) != 0; };
  text.erase(std::remove_if(text.begin(), text.end(), is_space), text.end());
  return text;
}

// The commit that refs/main names; without it, the only snapshot there is. Empty: none.
std::string SnapshotCommit(const std::string& folder) {
  if (const auto reference = Env::Posix().ReadFile(JoinPath(folder, "refs/main"))) {
    const std::string commit = Stripped(*reference);
    return IsNamePart(commit) ? commit : "";
  }
  const auto snapshots = Env::Posix().ListDirectory(JoinPath(folder, "snapshots"));
  return snapshots && snapshots->size() == 1 ? snapshots->front() : "";
}

}  // namespace

Result<std::string> ResolveModelDirectory(const std::string& path_or_name) {
  const Env& env = Env::Posix();
  if (env.IsDirectory(path_or_name)) return path_or_name;
  if (env.Exists(path_or_name)) {
    return InvalidArgument("{} is a file: a model is a directory with config.json and model.safetensors", path_or_name);
  }
  if (!IsHubName(path_or_name)) return NotFound("there is no model directory {}", path_or_name);
  const std::string folder = JoinPath(HubCacheDirectory(), CacheFolderName(path_or_name));
  const std::string commit = SnapshotCommit(folder);
  const std::string snapshot = JoinPath(JoinPath(folder, "snapshots"), commit);
  if (!commit.empty() && env.Exists(JoinPath(snapshot, "config.json"))) return snapshot;
  return NotFound(
      "there is no directory {} and no complete copy of such a model in {}; download it with: hf download {}",
      path_or_name, HubCacheDirectory(), path_or_name);
}

}  // namespace quire
