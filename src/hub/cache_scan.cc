#include "hub/cache_scan.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "base/env.h"
#include "base/error.h"
#include "hub/cache_layout.h"
#include "hub/gguf_groups.h"
#include "hub/model_cache.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

// Calls visit(path below the directory, entry) for all files and links below it.
template <typename Visit>
void ForEachFile(const std::string& directory, const Visit& visit) {
  std::error_code code;
  for (fs::recursive_directory_iterator it(directory, code), end; !code && it != end; it.increment(code)) {
    std::error_code ignored;
    if (it->is_directory(ignored) && !it->is_symlink(ignored)) continue;
    visit(it->path().string().substr(directory.size() + 1), *it);
  }
}

uint64_t SizeOf(const fs::path& path) {
  std::error_code code;
  const uintmax_t size = fs::file_size(path, code);
  return code ? 0 : size;
}

// commit -> the references that name it.
std::map<std::string, std::vector<std::string>> RefsOf(const CacheLayout& layout) {
  constexpr size_t kMaxBytes = 4096;
  std::map<std::string, std::vector<std::string>> refs;
  ForEachFile(layout.folder() + "/refs", [&](const std::string& name, const fs::directory_entry& entry) {
    const auto text = Env::Posix().ReadFileUpTo(entry.path().string(), kMaxBytes);
    if (!text.ok()) return;
    refs[text->substr(0, text->find_first_of(" \r\n"))].push_back(name);
  });
  return refs;
}

std::vector<std::string> FormatsOf(const std::vector<RepoFile>& files) {
  std::vector<std::string> formats;
  const auto has = [&](std::string_view suffix) {
    return std::ranges::any_of(files, [&](const RepoFile& file) { return file.path.ends_with(suffix); });
  };
  if (has(".safetensors")) formats.emplace_back("safetensors");
  if (has(".bin") || has(".pt") || has(".pth")) formats.emplace_back("pickle");
  for (const GgufGroup& group : GroupGgufFiles(files)) {
    std::string format = group.label.empty() ? "GGUF" : "GGUF " + group.label;
    if (!group.complete()) format += fmt::format(" ({} of {} parts)", group.parts.size(), group.num_parts);
    formats.push_back(std::move(format));
  }
  return formats;
}

CachedRevision ScanRevision(const CacheLayout& layout, const std::string& commit) {
  CachedRevision revision = {.commit = commit};
  std::vector<RepoFile> files;
  ForEachFile(layout.Snapshot(commit), [&](const std::string& path, const fs::directory_entry& entry) {
    files.push_back({.path = path, .size = SizeOf(entry.path())});
    revision.files.push_back(path);
    revision.num_bytes += files.back().size;
  });
  std::ranges::sort(revision.files);
  revision.formats = FormatsOf(files);
  return revision;
}

CachedRepo ScanRepo(const std::string& cache_directory, const std::string& repo_id) {
  const CacheLayout layout(cache_directory, repo_id);
  CachedRepo repo = {.repo_id = repo_id};
  const auto refs = RefsOf(layout);
  const auto commits = Env::Posix().ListDirectory(layout.folder() + "/snapshots");
  for (const std::string& commit : commits.ok() ? *commits : std::vector<std::string>()) {
    CachedRevision revision = ScanRevision(layout, commit);
    if (const auto found = refs.find(commit); found != refs.end()) revision.refs = found->second;
    std::ranges::sort(revision.refs);
    repo.revisions.push_back(std::move(revision));
  }
  std::ranges::stable_sort(repo.revisions, {}, [](const CachedRevision& revision) { return revision.refs.empty(); });
  ForEachFile(layout.folder(), [&](const std::string& path, const fs::directory_entry& entry) {
    std::error_code code;
    // A snapshot's links are those blobs again; a link among the blobs leads to a file that repositories share.
    if (entry.is_symlink(code)) return;
    const uint64_t size = SizeOf(entry.path());
    repo.num_bytes += size;
    if (path.ends_with(".incomplete")) repo.incomplete_bytes += size;
  });
  return repo;
}

// The blob that a link of a snapshot means, within the repository's folder; empty: the file is none of its links.
std::string BlobOf(const CacheLayout& layout, const std::string& snapshot_file) {
  std::error_code code;
  const fs::path target = fs::read_symlink(snapshot_file, code);
  if (code) return "";
  const std::string name = target.filename().string();
  const fs::path blob = (fs::path(snapshot_file).parent_path() / target).lexically_normal();
  return blob == fs::path(layout.Blob(name)).lexically_normal() ? layout.Blob(name) : "";
}

// Held while they live: nobody downloads into the repository.
class RepoLocks {
 public:
  static Result<RepoLocks> Take(const CacheLayout& layout) {
    RepoLocks locks;
    Status status;
    ForEachFile(layout.LockFolder(), [&](const std::string& name, const fs::directory_entry& entry) {
      const int file = open(entry.path().c_str(), O_RDWR | O_CLOEXEC);
      if (file < 0) return;
      locks.files_.push_back(file);
      if (flock(file, LOCK_EX | LOCK_NB) != 0) status = Unavailable("{} is being downloaded: wait, or stop that", name);
    });
    if (!status.ok()) return std::move(status).error();
    return locks;
  }
  RepoLocks() = default;
  ~RepoLocks() {
    for (const int file : files_) close(file);
  }
  RepoLocks(RepoLocks&& other) noexcept : files_(std::exchange(other.files_, {})) {}
  RepoLocks& operator=(RepoLocks&&) = delete;

 private:
  std::vector<int> files_;
};

Status RemoveTree(const std::string& path) {
  std::error_code code;
  fs::remove_all(path, code);
  return code ? Status(Io("cannot remove {}: {}", path, code.message())) : Status();
}

uint64_t RepoBytes(const CacheLayout& layout, const std::string& repo_id) {
  return ScanRepo(layout.cache_directory(), repo_id).num_bytes;
}

// Those blobs which `files` link to and no other file of any snapshot does.
std::set<std::string> BlobsOnlyOf(const CacheLayout& layout, const std::set<std::string>& files) {
  std::set<std::string> own, others;
  ForEachFile(layout.folder() + "/snapshots", [&](const std::string&, const fs::directory_entry& entry) {
    const std::string path = entry.path().string();
    const std::string blob = BlobOf(layout, path);
    if (!blob.empty()) (files.contains(path) ? own : others).insert(blob);
  });
  std::erase_if(own, [&](const std::string& blob) { return others.contains(blob); });
  return own;
}

// The links first: a model without them is not found, whatever stays of its blobs.
Status RemoveFiles(const CacheLayout& layout, const std::set<std::string>& files) {
  const std::set<std::string> blobs = BlobsOnlyOf(layout, files);
  for (const std::string& file : files) QUIRE_RETURN_IF_ERROR(Env::Posix().Remove(file));
  for (const std::string& blob : blobs) {
    const Status removed = Env::Posix().Remove(blob);
    if (!removed.ok() && removed.error().code != ErrorCode::kNotFound) return removed;
  }
  return {};
}

Result<std::set<std::string>> FilesOf(const CacheLayout& layout, const std::string& commit,
                                      const std::string& selector) {
  std::vector<RepoFile> files;
  ForEachFile(layout.Snapshot(commit),
              [&](const std::string& path, const fs::directory_entry&) { files.push_back({.path = path}); });
  std::set<std::string> paths;
  if (selector.empty()) {
    for (const RepoFile& file : files) paths.insert(layout.SnapshotFile(commit, file.path));
    return paths;
  }
  std::vector<GgufGroup> groups = GroupGgufFiles(files);
  if (groups.empty()) return NotFound("it has no GGUF files in the cache");
  for (GgufGroup& group : groups) group.num_parts = group.parts.size();  // some parts can be removed as well
  QUIRE_ASSIGN_OR_RETURN(const GgufGroup group, PickGguf(groups, selector));
  for (const RepoFile& part : group.parts) paths.insert(layout.SnapshotFile(commit, part.path));
  return paths;
}

Status RemoveRevision(const CacheLayout& layout, const std::string& commit) {
  QUIRE_ASSIGN_OR_RETURN(const std::set<std::string> files, FilesOf(layout, commit, ""));
  const auto refs = RefsOf(layout);
  if (const auto named = refs.find(commit); named != refs.end()) {
    for (const std::string& ref : named->second) QUIRE_RETURN_IF_ERROR(Env::Posix().Remove(layout.Ref(ref)));
  }
  QUIRE_RETURN_IF_ERROR(RemoveFiles(layout, files));
  QUIRE_RETURN_IF_ERROR(RemoveTree(layout.Snapshot(commit)));
  QUIRE_RETURN_IF_ERROR(RemoveTree(layout.Tree(commit)));
  return RemoveTree(layout.NoExist(commit, ""));
}

Error NotCached(const std::string& cache_directory, const RepoRef& ref) {
  std::string names;
  for (const CachedRepo& repo : ScanCache(cache_directory)) names += (names.empty() ? "" : ", ") + repo.repo_id;
  return NotFound("{} is not in the cache {}{}", FormatRepoRef(ref), cache_directory,
                  names.empty() ? ", which is empty" : ": it holds " + names);
}

}  // namespace

std::vector<CachedRepo> ScanCache(const std::string& cache_directory) {
  std::vector<CachedRepo> repos;
  const auto names = Env::Posix().ListDirectory(cache_directory);
  for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
    const std::string repo_id = RepoIdOfFolder(name);
    if (!repo_id.empty()) repos.push_back(ScanRepo(cache_directory, repo_id));
  }
  return repos;
}

Result<uint64_t> RemoveFromCache(const std::string& cache_directory, const RepoRef& ref, bool only_revision) {
  const CacheLayout layout(cache_directory, ref.repo_id);
  if (!Env::Posix().IsDirectory(layout.folder())) return NotCached(cache_directory, ref);
  QUIRE_ASSIGN_OR_RETURN(const RepoLocks locks, RepoLocks::Take(layout));
  const uint64_t before = RepoBytes(layout, ref.repo_id);
  if (ref.selector.empty() && !only_revision) {
    // Out of sight first, so that a removal that is interrupted leaves no model that looks whole. Lock files stay: they
    // are what others lock.
    const std::string grave = fmt::format("{}/removed-{}", layout.LockFolder(), getpid());
    QUIRE_RETURN_IF_ERROR(Env::Posix().CreateDirectories(layout.LockFolder()));
    QUIRE_RETURN_IF_ERROR(Env::Posix().Rename(layout.folder(), grave));
    QUIRE_RETURN_IF_ERROR(RemoveTree(grave));
    return before;
  }
  const std::string commit = CachedCommit(layout, ref);
  if (commit.empty() || !Env::Posix().IsDirectory(layout.Snapshot(commit))) return NotCached(cache_directory, ref);
  if (ref.selector.empty()) {
    QUIRE_RETURN_IF_ERROR(RemoveRevision(layout, commit));
  } else {
    QUIRE_ASSIGN_OR_RETURN(const std::set<std::string> files, FilesOf(layout, commit, ref.selector));
    QUIRE_RETURN_IF_ERROR(RemoveFiles(layout, files));
  }
  const uint64_t after = RepoBytes(layout, ref.repo_id);
  return before > after ? before - after : 0;
}

}  // namespace quire
