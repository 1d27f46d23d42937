// quire pull, list, rm: models of the hub and the cache that they lie in, which all of Hugging Face's tools share.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/generate.h"
#include "cli/output.h"
#include "hub/cache_scan.h"
#include "hub/hub_environment.h"
#include "hub/model_cache.h"
#include "hub/model_fetch.h"
#include "hub/progress_view.h"
#include "hub/sizes.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

Result<std::string> Pull(const PullCommand& command) {
  QUIRE_ASSIGN_OR_RETURN(const RepoRef ref, ParseRepoRef(command.model, command.revision));
  QUIRE_ASSIGN_OR_RETURN(const HubEnvironment environment, ReadHubEnvironment());
  if (environment.offline) return FindOrFetchModel(command.model, command.revision, nullptr);
  QUIRE_ASSIGN_OR_RETURN(const FetchedModel model, FetchModel(environment, ref, MakeProgressView(command.model)));
  std::fprintf(stderr, "quire: %s is %s of %s, %s downloaded\n", FormatRepoRef(ref).c_str(),
               FormatSize(model.num_bytes).c_str(), model.commit.substr(0, 8).c_str(),
               FormatSize(model.received_bytes).c_str());
  return model.path;
}

// Whether a model can be loaded from it.
bool IsWhole(const std::string& cache_directory, const CachedRepo& repo, const CachedRevision& revision) {
  const CacheLayout layout(cache_directory, repo.repo_id);
  if (FindInCache(layout, {.repo_id = repo.repo_id, .revision = revision.commit}).ok()) return true;
  return std::ranges::any_of(revision.files, [&](const std::string& file) {
    return file.ends_with(".gguf") &&
           FindInCache(layout, {.repo_id = repo.repo_id, .revision = revision.commit, .selector = file}).ok();
  });
}

std::string Table(const std::string& cache_directory, const std::vector<CachedRepo>& repos) {
  if (repos.empty()) return fmt::format("there is no model in {}\n", cache_directory);
  size_t columns = 5;
  for (const CachedRepo& repo : repos) columns = std::max(columns, repo.repo_id.size());
  std::string text =
      fmt::format("{:<{}}  {:>8}  {:<8}  {:<12}  {}\n", "MODEL", columns, "SIZE", "COMMIT", "REVISION", "FORMAT");
  uint64_t total = 0, incomplete = 0;
  for (const CachedRepo& repo : repos) {
    total += repo.num_bytes;
    incomplete += repo.incomplete_bytes;
    for (const CachedRevision& revision : repo.revisions) {
      std::string formats = fmt::format("{}", fmt::join(revision.formats, ", "));
      if (!IsWhole(cache_directory, repo, revision)) formats += formats.empty() ? "not whole" : " (not whole)";
      text += fmt::format("{:<{}}  {:>8}  {:<8.8}  {:<12}  {}\n", repo.repo_id, columns, FormatSize(revision.num_bytes),
                          revision.commit, fmt::format("{}", fmt::join(revision.refs, ",")), formats);
    }
  }
  text += fmt::format("\n{} in {}", FormatSize(total), cache_directory);
  if (incomplete > 0) text += fmt::format(", {} of it parts of downloads that have not ended", FormatSize(incomplete));
  return text + "\n";
}

std::string JsonList(const std::string& cache_directory, const std::vector<CachedRepo>& repos) {
  Json list = Json::array();
  for (const CachedRepo& repo : repos) {
    Json revisions = Json::array();
    for (const CachedRevision& revision : repo.revisions) {
      revisions.push_back({{"commit", revision.commit},
                           {"refs", revision.refs},
                           {"files", revision.files},
                           {"formats", revision.formats},
                           {"bytes", revision.num_bytes},
                           {"whole", IsWhole(cache_directory, repo, revision)}});
    }
    list.push_back({{"model", repo.repo_id},
                    {"bytes", repo.num_bytes},
                    {"incomplete_bytes", repo.incomplete_bytes},
                    {"revisions", std::move(revisions)}});
  }
  const Json all = {{"cache", cache_directory}, {"models", std::move(list)}};
  return all.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// A name with a revision means that one alone.
bool NamesRevision(const std::string& name) { return name.find('@') != std::string::npos; }

}  // namespace

int RunPull(const PullCommand& command) {
  const Result<std::string> path = Pull(command);
  if (!path.ok()) return Complain(path.error());
  PrintAll(*path + "\n");
  return 0;
}

int RunList(const ListCommand& command) {
  const std::string cache_directory = HubCacheDirectory();
  const std::vector<CachedRepo> repos = ScanCache(cache_directory);
  PrintAll(command.json ? JsonList(cache_directory, repos) : Table(cache_directory, repos));
  return 0;
}

int RunRemove(const RemoveCommand& command) {
  const std::string cache_directory = HubCacheDirectory();
  for (const std::string& name : command.models) {
    const Result<RepoRef> ref = ParseRepoRef(name);
    if (!ref.ok()) return Complain(ref.error());
    const Result<uint64_t> freed = RemoveFromCache(cache_directory, *ref, NamesRevision(name));
    if (!freed.ok()) return Complain(freed.error());
    PrintAll(fmt::format("removed {}: {} are free again\n", name, FormatSize(*freed)));
  }
  return 0;
}

}  // namespace quire
