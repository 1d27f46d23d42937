#include "hub/model_cache.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/env.h"
#include "base/error.h"
#include "hub/file_choice.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxRefBytes = 4096;
constexpr size_t kMaxTreeBytes = 256 << 20;

std::string ParentOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

std::string Stripped(std::string text) {
  std::erase_if(text, [](unsigned char c) { return std::isspace(c) != 0; });
  return text;
}

// In one step, for who reads it at the same time.
Status WriteAtOnce(const std::string& path, std::string_view text) {
  QUIRE_RETURN_IF_ERROR(Env::Posix().CreateDirectories(ParentOf(path)));
  const std::string temporary = fmt::format("{}.{}.tmp", path, getpid());
  QUIRE_RETURN_IF_ERROR(Env::Posix().WriteFile(temporary, text));
  const Status renamed = Env::Posix().Rename(temporary, path);
  if (!renamed.ok()) static_cast<void>(Env::Posix().Remove(temporary));
  return renamed;
}

// The files below a directory, links to files included, those to nothing not.
std::vector<RepoFile> WalkSnapshot(const std::string& directory) {
  std::vector<RepoFile> files;
  std::error_code code;
  for (fs::recursive_directory_iterator it(directory, code), end; !code && it != end; it.increment(code)) {
    std::error_code ignored;
    if (!it->is_regular_file(ignored)) continue;
    const uintmax_t size = it->file_size(ignored);
    files.push_back({.path = it->path().string().substr(directory.size() + 1), .size = ignored ? 0 : size});
  }
  std::ranges::sort(files, {}, &RepoFile::path);
  return files;
}

// With the index in mind, where there is one.
Result<FileChoice> ChooseCached(const CacheLayout& layout, const std::string& commit, const CachedListing& listing,
                                const std::string& selector) {
  QUIRE_ASSIGN_OR_RETURN(FileChoice choice, ChooseFiles(listing.files, selector));
  if (!choice.gguf.empty() || !choice.has_index) return choice;
  const Result<std::string> index = Env::Posix().ReadFileUpTo(layout.SnapshotFile(commit, kIndexPath), kMaxTreeBytes);
  if (!index.ok()) return NotFound("{} is missing", kIndexPath);
  return WithIndex(choice, listing.files, *index);
}

}  // namespace

std::string CachedCommit(const CacheLayout& layout, const RepoRef& ref) {
  if (IsCommit(ref.revision)) return ref.revision;
  if (const auto text = Env::Posix().ReadFileUpTo(layout.Ref(ref.revision), kMaxRefBytes)) {
    const std::string commit = Stripped(*text);
    return commit.find('/') == std::string::npos && IsSafePath(commit) ? commit : "";
  }
  if (ref.revision != RepoRef().revision) return "";
  const auto snapshots = Env::Posix().ListDirectory(layout.folder() + "/snapshots");
  return snapshots && snapshots->size() == 1 ? snapshots->front() : "";
}

CachedListing ListCached(const CacheLayout& layout, const std::string& commit) {
  if (const auto text = Env::Posix().ReadFileUpTo(layout.Tree(commit), kMaxTreeBytes)) {
    Result<std::vector<RepoFile>> files = ParseTreeFile(*text);
    if (files.ok()) return {.files = *std::move(files), .is_complete = true};
  }
  return {.files = WalkSnapshot(layout.Snapshot(commit))};
}

bool HasFile(const CacheLayout& layout, const std::string& commit, const RepoFile& file) {
  std::error_code code;
  const fs::path path = layout.SnapshotFile(commit, file.path);
  return fs::is_regular_file(path, code) && fs::file_size(path, code) == file.size && !code;
}

Result<std::string> FindInCache(const CacheLayout& layout, const RepoRef& ref) {
  const std::string commit = CachedCommit(layout, ref);
  const std::string snapshot = layout.Snapshot(commit);
  if (commit.empty() || !Env::Posix().IsDirectory(snapshot)) {
    return NotFound("{} is not in the cache {}", FormatRepoRef(ref), layout.cache_directory());
  }
  const CachedListing listing = ListCached(layout, commit);
  const Result<FileChoice> choice = ChooseCached(layout, commit, listing, ref.selector);
  if (!choice.ok()) return NotFound("{} is not whole in {}: {}", FormatRepoRef(ref), snapshot, choice.error().message);
  const auto missing =
      std::ranges::find_if(choice->files, [&](const RepoFile& file) { return !HasFile(layout, commit, file); });
  if (missing != choice->files.end()) {
    return NotFound("{} is not whole in {}: {} is missing", FormatRepoRef(ref), snapshot, missing->path);
  }
  return choice->gguf.empty() ? snapshot : layout.SnapshotFile(commit, choice->gguf);
}

Status LinkFile(const CacheLayout& layout, const std::string& commit, const RepoFile& file) {
  const std::string path = layout.SnapshotFile(commit, file.path);
  if (HasFile(layout, commit, file)) return {};
  QUIRE_RETURN_IF_ERROR(Env::Posix().CreateDirectories(ParentOf(path)));
  const std::string target = CacheLayout::LinkTarget(file.path, file.etag());
  // In one step, over whatever is there.
  const std::string temporary = fmt::format("{}.{}.tmp", path, getpid());
  unlink(temporary.c_str());
  if (symlink(target.c_str(), temporary.c_str()) != 0) return Io("cannot link {}: {}", path, std::strerror(errno));
  const Status renamed = Env::Posix().Rename(temporary, path);
  if (!renamed.ok()) unlink(temporary.c_str());
  return renamed;
}

Status WriteRef(const CacheLayout& layout, const std::string& revision, const std::string& commit) {
  if (revision == commit) return {};
  const std::string path = layout.Ref(revision);
  const auto text = Env::Posix().ReadFileUpTo(path, kMaxRefBytes);
  if (text.ok() && *text == commit) return {};  // the cache may be read-only
  return WriteAtOnce(path, commit);
}

Status WriteTree(const CacheLayout& layout, const std::string& commit, const std::vector<RepoFile>& files) {
  return WriteAtOnce(layout.Tree(commit), FormatTreeFile(files));
}

Status MarkAbsent(const CacheLayout& layout, const std::string& commit, const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    const std::string marker = layout.NoExist(commit, path);
    if (Env::Posix().Exists(marker)) continue;
    QUIRE_RETURN_IF_ERROR(Env::Posix().CreateDirectories(ParentOf(marker)));
    QUIRE_RETURN_IF_ERROR(Env::Posix().WriteFile(marker, ""));
  }
  return {};
}

void TagCache(const std::string& cache_directory) {
  const std::string path = JoinPath(cache_directory, "CACHEDIR.TAG");
  if (Env::Posix().Exists(path)) return;
  // The first line is the standard's, https://bford.info/cachedir/. Nothing is lost without the tag.
  static_cast<void>(
      Env::Posix().WriteFile(path,
                             "Signature: 8a477f597d28d172789f06886806bc55\n"
                             "# This directory is a cache of models from the Hugging Face hub; what is in "
                             "it can be downloaded again.\n"));
}

}  // namespace quire
