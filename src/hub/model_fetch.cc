#include "hub/model_fetch.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <string_view>
#include <utility>

#include "base/env.h"
#include "base/error.h"
#include "base/log.h"
#include "hub/cache_scan.h"
#include "hub/file_choice.h"
#include "hub/hub_api.h"
#include "hub/model_cache.h"
#include "hub/sizes.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxIndexBytes = 256 << 20;
constexpr int kMaxListings = 2;

// One fetch of one commit: its files in two goes, as the index says which weights are needed.
class Fetch {
 public:
  Fetch(const HubEnvironment& environment, const CacheLayout& layout, const RepoRef& ref, std::string commit)
      : environment_(environment), layout_(layout), job_{.ref = ref, .commit = std::move(commit)} {}

  Result<FetchedModel> Run(const ShowProgress& show);

 private:
  // Downloads and links the files.
  Status Get(const std::vector<RepoFile>& files, const ShowProgress& show);
  Status CheckSpace(const std::vector<RepoFile>& files) const;
  uint64_t MissingBytes(const std::vector<RepoFile>& files) const;
  // Of all files of the model, those that are not downloaded now included.
  DownloadProgress Whole(const DownloadProgress& now) const;
  Status AddIndex(const std::vector<RepoFile>& listing);

  const HubEnvironment& environment_;
  const CacheLayout& layout_;
  DownloadJob job_;
  FileChoice choice_;
  uint64_t received_ = 0;
};

uint64_t Fetch::MissingBytes(const std::vector<RepoFile>& files) const {
  uint64_t sum = 0;
  for (const RepoFile& file : files) {
    std::error_code code;
    if (fs::exists(layout_.Blob(file.etag()), code)) continue;
    const uintmax_t part = fs::file_size(layout_.Incomplete(file.etag()), code);
    const uint64_t missing = code || part > file.size ? file.size : file.size - part;
    sum = missing > UINT64_MAX - sum ? UINT64_MAX : sum + missing;
  }
  return sum;
}

Status Fetch::CheckSpace(const std::vector<RepoFile>& files) const {
  const uint64_t missing = MissingBytes(files);
  if (missing == 0) return {};
  QUIRE_RETURN_IF_ERROR(Env::Posix().CreateDirectories(layout_.cache_directory()));
  std::error_code code;
  const fs::space_info space = fs::space(layout_.cache_directory(), code);
  if (code || space.available >= missing) return {};
  return ResourceExhausted(
      "{} needs {} more in {}, where {} are free: make room (quire list, quire rm), or set HF_HOME to a larger disk",
      FormatRepoRef(job_.ref), FormatSize(missing), layout_.cache_directory(), FormatSize(space.available));
}

Status Fetch::Get(const std::vector<RepoFile>& files, const ShowProgress& show) {
  job_.files.clear();
  for (const RepoFile& file : files) {
    if (!HasFile(layout_, job_.commit, file)) job_.files.push_back(file);
  }
  if (job_.files.empty()) return {};
  uint64_t received = 0;
  const auto observe = [&](const DownloadProgress& progress) {
    received = progress.received;
    if (show) show(Whole(progress));
  };
  const Status downloaded = DownloadBlobs(environment_, layout_, job_, observe);
  received_ += received;
  QUIRE_RETURN_IF_ERROR(downloaded);
  for (const RepoFile& file : job_.files) QUIRE_RETURN_IF_ERROR(LinkFile(layout_, job_.commit, file));
  return {};
}

DownloadProgress Fetch::Whole(const DownloadProgress& now) const {
  using State = FileProgress::State;
  std::map<std::string_view, const FileProgress*> by_etag;
  for (const FileProgress& file : now.files) by_etag[file.etag] = &file;
  DownloadProgress whole = {.received = received_ + now.received};
  for (const RepoFile& file : choice_.files) {
    FileProgress progress = {.name = file.path, .etag = file.etag(), .size = file.size};
    if (const auto found = by_etag.find(file.etag()); found != by_etag.end()) {
      progress.done = found->second->done;
      progress.state = found->second->state;
    } else if (HasFile(layout_, job_.commit, file)) {
      progress.done = file.size;
      progress.state = State::kDone;
    }
    whole.files.push_back(std::move(progress));
  }
  return whole;
}

Status Fetch::AddIndex(const std::vector<RepoFile>& listing) {
  if (!choice_.has_index || !choice_.gguf.empty()) return {};
  const std::string path = layout_.SnapshotFile(job_.commit, kIndexPath);
  QUIRE_ASSIGN_OR_RETURN(const std::string index, Env::Posix().ReadFileUpTo(path, kMaxIndexBytes));
  QUIRE_ASSIGN_OR_RETURN(choice_, WithIndex(choice_, listing, index));
  return {};
}

Result<FetchedModel> Fetch::Run(const ShowProgress& show) {
  // Of a commit that never changes: who has listed it before need not ask.
  CachedListing listing = ListCached(layout_, job_.commit);
  if (!listing.is_complete) {
    QUIRE_ASSIGN_OR_RETURN(listing.files, HubApi(environment_).ListFiles(job_.ref, job_.commit));
  }
  Result<FileChoice> choice = ChooseFiles(listing.files, job_.ref.selector);
  if (!choice.ok()) {
    Error error = choice.error();
    error.message = fmt::format("{}: {}", job_.ref.repo_id, error.message);
    return error;
  }
  choice_ = *std::move(choice);
  QUIRE_RETURN_IF_ERROR(CheckSpace(choice_.files));
  TagCache(layout_.cache_directory());
  if (!listing.is_complete) QUIRE_RETURN_IF_ERROR(WriteTree(layout_, job_.commit, listing.files));
  const auto small_end = choice_.files.begin() + static_cast<ptrdiff_t>(choice_.num_small);
  QUIRE_RETURN_IF_ERROR(Get({choice_.files.begin(), small_end}, show));
  QUIRE_RETURN_IF_ERROR(MarkAbsent(layout_, job_.commit, choice_.absent));
  QUIRE_RETURN_IF_ERROR(AddIndex(listing.files));
  QUIRE_RETURN_IF_ERROR(Get(choice_.files, show));
  QUIRE_RETURN_IF_ERROR(WriteRef(layout_, job_.ref.revision, job_.commit));
  FetchedModel model = {.commit = job_.commit, .received_bytes = received_};
  model.path = choice_.gguf.empty() ? layout_.Snapshot(job_.commit) : layout_.SnapshotFile(job_.commit, choice_.gguf);
  for (const RepoFile& file : choice_.files) model.num_bytes += file.size;
  return model;
}

// What can be used without the hub.
std::string WhatIsCached(const std::string& cache_directory) {
  constexpr size_t kMost = 20;
  std::string names;
  size_t count = 0;
  for (const CachedRepo& repo : ScanCache(cache_directory)) {
    if (++count > kMost) break;
    names += (names.empty() ? "" : ", ") + repo.repo_id;
  }
  if (names.empty()) return fmt::format("the cache {} is empty", cache_directory);
  return fmt::format("the cache {} holds {}{}", cache_directory, names, count > kMost ? ", ..." : "");
}

Error NotHere(const std::string& name, const Error& cached, const std::string& why,
              const std::string& cache_directory) {
  return NotFound("there is no directory {}; {}; {}; {}", name, cached.message, why, WhatIsCached(cache_directory));
}

}  // namespace

Result<FetchedModel> FetchModel(const HubEnvironment& environment, const RepoRef& ref, const ShowProgress& show) {
  const HubApi api(environment);
  const CacheLayout layout(environment.cache_directory, ref.repo_id);
  for (int number = 1;; ++number) {
    std::string commit = ref.revision;
    if (!IsCommit(commit)) {
      QUIRE_ASSIGN_OR_RETURN(commit, api.ResolveRevision(ref));
    }
    Result<FetchedModel> model = Fetch(environment, layout, ref, commit).Run(show);
    // Files that are not what the commit's list says: the revision may have got a new one meanwhile.
    if (model.ok() || model.error().code != ErrorCode::kDataLoss || number == kMaxListings) return model;
    const std::string list = layout.Tree(commit);
    if (Env::Posix().Exists(list)) static_cast<void>(Env::Posix().Remove(list));
    LogWarning("hub_lists_again repo={} reason={}", ref.repo_id, LogValue(model.error().message));
  }
}

Result<std::string> FindOrFetchModel(const std::string& path_or_name, const std::string& revision,
                                     const ShowProgress& show) {
  if (Env::Posix().Exists(path_or_name)) return path_or_name;
  const Result<RepoRef> ref = ParseRepoRef(path_or_name, revision);
  if (!ref.ok()) return NotFound("there is no model directory {}, and {}", path_or_name, ref.error().message);
  const std::string cache_directory = HubCacheDirectory();
  Result<std::string> cached = FindInCache(CacheLayout(cache_directory, ref->repo_id), *ref);
  if (cached.ok()) return cached;
  QUIRE_ASSIGN_OR_RETURN(const HubEnvironment environment, ReadHubEnvironment());
  if (environment.offline) {
    return NotHere(path_or_name, cached.error(), "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids to download it",
                   cache_directory);
  }
  const Result<FetchedModel> fetched = FetchModel(environment, *ref, show);
  if (fetched.ok()) return fetched->path;
  if (fetched.error().code == ErrorCode::kUnavailable) {
    return NotHere(path_or_name, cached.error(), fetched.error().message, cache_directory);
  }
  return fetched.error();
}

}  // namespace quire
