// What the hub's API is asked: the commit of a revision, the files of a commit, and where they are. Errors are meant
// for people: what is wrong, and what to do about it. Thread-compatible.
#pragma once

#include <string>
#include <vector>

#include "hub/http_get.h"
#include "hub/hub_environment.h"
#include "hub/repo_listing.h"
#include "hub/repo_ref.h"
#include "quire/result.h"

namespace quire {

class HubApi {
 public:
  explicit HubApi(const HubEnvironment& environment) : environment_(environment) {}

  // The commit of ref.revision. kUnavailable: the hub cannot be reached, or is not well.
  Result<std::string> ResolveRevision(const RepoRef& ref) const;
  Result<std::vector<RepoFile>> ListFiles(const RepoRef& ref, const std::string& commit) const;
  std::string FileUrl(const RepoRef& ref, const std::string& commit, const std::string& path) const;

 private:
  // Tries again what may pass. The answer's status is 200.
  Result<HttpAnswer> Get(const RepoRef& ref, const std::string& url) const;
  std::string RevisionsOf(const RepoRef& ref) const;

  const HubEnvironment& environment_;
};

// Why the hub refused, of an answer whose status is not 200 or 206. `what`: "the file config.json".
Error ExplainRefusal(const HubEnvironment& environment, const RepoRef& ref, const std::string& what,
                     const HttpAnswer& answer);

// How long to wait before try `number` (1: the second one): twice as long each time, or as the server asks, in ms.
int64_t BackoffMs(int number, const HttpAnswer& answer);

}  // namespace quire
