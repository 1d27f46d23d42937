#include "hub/hub_environment.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "base/env.h"
#include "base/error.h"

namespace quire {
namespace {

constexpr size_t kMaxTokenBytes = 64 * 1024;

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

std::string Expanded(const std::string& path) { return ExpandVariables(ExpandHome(path)); }

std::string HomeOfHub() {
  if (const std::string home = Variable("HF_HOME"); !home.empty()) return Expanded(home);
  const std::string cache = Variable("XDG_CACHE_HOME");
  return JoinPath(Expanded(cache.empty() ? "~/.cache" : cache), "huggingface");
}

bool IsTrue(const std::string& text) {
  std::string upper = text;
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return upper == "1" || upper == "ON" || upper == "YES" || upper == "TRUE";
}

bool IsOffline() {
  const std::string hub = Variable("HF_HUB_OFFLINE");
  return IsTrue(hub.empty() ? Variable("TRANSFORMERS_OFFLINE") : hub);
}

// Without line ends anywhere and white space around.
std::string CleanToken(std::string text) {
  std::erase_if(text, [](char c) { return c == '\r' || c == '\n'; });
  const auto is_space = [](unsigned char c) { return std::isspace(c) != 0; };
  text.erase(text.begin(), std::ranges::find_if_not(text, is_space));
  while (!text.empty() && is_space(static_cast<unsigned char>(text.back()))) text.pop_back();
  return text;
}

Status ReadToken(HubEnvironment& environment) {
  if (IsTrue(Variable("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return {};
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    environment.token = CleanToken(Variable(name));
    environment.token_source = name;
    if (!environment.token.empty()) break;
  }
  if (environment.token.empty()) {
    const std::string path = Variable("HF_TOKEN_PATH");
    environment.token_source = path.empty() ? JoinPath(HomeOfHub(), "token") : Expanded(path);
    const Result<std::string> text = Env::Posix().ReadFileUpTo(environment.token_source, kMaxTokenBytes);
    if (text.ok()) environment.token = CleanToken(*text);
  }
  const auto is_printable = [](unsigned char c) { return c > 0x20 && c < 0x7f; };
  if (std::ranges::all_of(environment.token, is_printable)) return {};
  return InvalidArgument("the token of {} has a character that no token has: copy it anew from the hub's settings",
                         environment.token_source);
}

Status ReadSeconds(const char* name, int64_t& seconds) {
  const std::string text = Variable(name);
  if (text.empty()) return {};
  constexpr int64_t kMost = 24 * 3600;
  const bool is_number = text.size() <= 9 && std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c); });
  if (!is_number) return InvalidArgument("{} is \"{}\": it must be a whole number of seconds", name, text);
  if (const int64_t value = std::atoll(text.c_str()); value > 0) seconds = std::min(value, kMost);
  return {};
}

Result<std::string> ReadEndpoint() {
  std::string endpoint = Variable("HF_ENDPOINT");
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (endpoint.empty()) return std::string("https://huggingface.co");
  const bool has_scheme = endpoint.starts_with("http://") || endpoint.starts_with("https://");
  const bool is_plain = std::ranges::all_of(endpoint, [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (has_scheme && is_plain) return endpoint;
  return InvalidArgument("HF_ENDPOINT is \"{}\": it must be an address such as https://huggingface.co", endpoint);
}

}  // namespace

std::string HubCacheDirectory() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string path = Variable(name); !path.empty()) return Expanded(path);
  }
  return JoinPath(HomeOfHub(), "hub");
}

Result<HubEnvironment> ReadHubEnvironment() {
  HubEnvironment environment;
  environment.cache_directory = HubCacheDirectory();
  environment.offline = IsOffline();
  QUIRE_ASSIGN_OR_RETURN(environment.endpoint, ReadEndpoint());
  QUIRE_RETURN_IF_ERROR(ReadToken(environment));
  QUIRE_RETURN_IF_ERROR(ReadSeconds("HF_HUB_ETAG_TIMEOUT", environment.timeout_s));
  QUIRE_RETURN_IF_ERROR(ReadSeconds("HF_HUB_DOWNLOAD_TIMEOUT", environment.stall_s));
  for (const char* name : {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"}) {
    if (environment.ca_file.empty()) environment.ca_file = Variable(name);
  }
  return environment;
}

}  // namespace quire
