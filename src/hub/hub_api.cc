#include "hub/hub_api.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/log.h"

namespace quire {
namespace {

using Json = nlohmann::json;

constexpr int kMaxTries = 5;
constexpr size_t kMaxPages = 1'000;
constexpr size_t kMaxFiles = 1'000'000;
constexpr int64_t kFirstBackoffMs = 500;
constexpr int64_t kMaxBackoffMs = 30'000;
constexpr int64_t kMaxWaitS = 300;

std::string NamesIn(const Json& answer, const char* key) {
  constexpr size_t kMost = 20;
  std::string names;
  const auto list = answer.is_object() ? answer.find(key) : answer.end();
  if (!answer.is_object() || list == answer.end() || !list->is_array()) return names;
  size_t count = 0;
  for (const Json& entry : *list) {
    const auto name = entry.is_object() ? entry.find("name") : entry.end();
    if (!entry.is_object() || name == entry.end() || !name->is_string()) continue;
    if (++count > kMost) return names + ", ...";
    names += (names.empty() ? "" : ", ") + name->get<std::string>();
  }
  return names;
}

bool SaysTokenIsBad(const HttpAnswer& answer) {
  return answer.status == 401 && answer.error_message.find("Invalid") != std::string::npos;
}

std::string TokenAdvice(const HubEnvironment& environment) {
  return environment.token.empty()
             ? fmt::format("set HF_TOKEN to a token from {}/settings/tokens", environment.endpoint)
             : fmt::format("the token of {} must be of an account that may read it", environment.token_source);
}

Error ExplainMissingRepo(const HubEnvironment& environment, const RepoRef& ref) {
  return NotFound("there is no model {} at {}: check the name; if it is private, {}", ref.repo_id, environment.endpoint,
                  TokenAdvice(environment));
}

}  // namespace

int64_t BackoffMs(int number, const HttpAnswer& answer) {
  if (const int64_t seconds = answer.WaitSeconds(); seconds >= 0) return std::min(seconds, kMaxWaitS) * 1000;
  return std::min(kFirstBackoffMs << std::min(number - 1, 10), kMaxBackoffMs);
}

Error ExplainRefusal(const HubEnvironment& environment, const RepoRef& ref, const std::string& what,
                     const HttpAnswer& answer) {
  if (SaysTokenIsBad(answer)) {
    return MakeError(ErrorCode::kUnauthenticated,
                     "{} refuses the token of {}: replace it by one from {}/settings/tokens, or remove it",
                     environment.endpoint, environment.token_source, environment.endpoint);
  }
  if (answer.error_code == "GatedRepo") {
    return MakeError(ErrorCode::kUnauthenticated,
                     "{} is gated: its owners want to know who downloads it. Ask for access at {}/{}, then {}",
                     ref.repo_id, environment.endpoint, ref.repo_id, TokenAdvice(environment));
  }
  if (answer.error_code == "RevisionNotFound") {
    return OfField("revision", NotFound("{} has no revision {}", ref.repo_id, ref.revision));
  }
  if (answer.error_code == "EntryNotFound") return NotFound("{} has not {}", ref.repo_id, what);
  if (answer.error_code == "RepoNotFound" || answer.status == 401 || answer.status == 404) {
    return ExplainMissingRepo(environment, ref);
  }
  const std::string message = answer.error_message.empty() ? "" : ": " + answer.error_message;
  const ErrorCode code = IsTransientStatus(answer.status) ? ErrorCode::kUnavailable : ErrorCode::kIo;
  return MakeError(code, "{} answered {} to a request for {} of {}{}", environment.endpoint, answer.status, what,
                   ref.repo_id, message);
}

Result<HttpAnswer> HubApi::Get(const RepoRef& ref, const std::string& url) const {
  for (int number = 1;; ++number) {
    HttpGet get(environment_, url);
    const CURLcode code = get.Perform();
    const HttpAnswer& answer = get.answer();
    if (code == CURLE_OK && answer.status == 200) return answer;
    const bool is_cut = code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING;
    const bool may_pass = code == CURLE_OK ? IsTransientStatus(answer.status) : is_cut;
    if (!may_pass || number == kMaxTries) {
      if (code == CURLE_OK) return ExplainRefusal(environment_, ref, "its files", answer);
      return Unavailable("cannot reach {}: {}", environment_.endpoint, get.Reason(code));
    }
    const int64_t wait_ms = BackoffMs(number, answer);
    LogInfo("hub_waits endpoint={} status={} wait_s={:.1f}", environment_.endpoint, answer.status,
            static_cast<double>(wait_ms) / 1000);
    std::this_thread::sleep_for(std::chrono::milliseconds(wait_ms));
  }
}

std::string HubApi::RevisionsOf(const RepoRef& ref) const {
  const Result<HttpAnswer> answer = Get(ref, fmt::format("{}/api/models/{}/refs", environment_.endpoint, ref.repo_id));
  if (!answer.ok()) return "";
  const Json refs = Json::parse(answer->body, nullptr, false);
  std::string names = NamesIn(refs, "branches");
  const std::string tags = NamesIn(refs, "tags");
  return names + (names.empty() || tags.empty() ? "" : ", ") + tags;
}

Result<std::string> HubApi::ResolveRevision(const RepoRef& ref) const {
  const Result<HttpAnswer> answer = Get(ref, fmt::format("{}/api/models/{}/revision/{}", environment_.endpoint,
                                                         ref.repo_id, EncodeUrl(ref.revision, false)));
  if (!answer.ok()) {
    Error error = answer.error();
    if (error.field != "revision") return error;
    const std::string names = RevisionsOf(ref);
    if (!names.empty()) error.message += ": there are " + names;
    return error;
  }
  const Json info = Json::parse(answer->body, nullptr, false);
  const auto sha = info.is_object() ? info.find("sha") : info.end();
  if (info.is_object() && sha != info.end() && sha->is_string() && IsCommit(sha->get<std::string>())) {
    return sha->get<std::string>();
  }
  return DataLoss("{} does not answer as a hub does: it names no commit of {}; is HF_ENDPOINT right?",
                  environment_.endpoint, ref.repo_id);
}

Result<std::vector<RepoFile>> HubApi::ListFiles(const RepoRef& ref, const std::string& commit) const {
  std::vector<RepoFile> files;
  std::string url =
      fmt::format("{}/api/models/{}/tree/{}?recursive=true&expand=false", environment_.endpoint, ref.repo_id, commit);
  for (size_t page = 0; !url.empty(); ++page) {
    if (page == kMaxPages || files.size() > kMaxFiles) return DataLoss("{} has too many files to list", ref.repo_id);
    QUIRE_ASSIGN_OR_RETURN(const HttpAnswer answer, Get(ref, url));
    const Status added = AddListingPage(answer.body, files);
    if (!added.ok()) {
      return DataLoss("{} does not answer as a hub does: {}: {}", environment_.endpoint, ref.repo_id,
                      added.error().message);
    }
    url = answer.NextPage();
    if (url.starts_with('/')) url = std::string(OriginOf(environment_.endpoint)) + url;
  }
  return files;
}

std::string HubApi::FileUrl(const RepoRef& ref, const std::string& commit, const std::string& path) const {
  return fmt::format("{}/{}/resolve/{}/{}", environment_.endpoint, ref.repo_id, commit, EncodeUrl(path, true));
}

}  // namespace quire
