// Where things lie in the cache that all of Hugging Face's tools share:
//   CACHEDIR.TAG
//   .locks/models--<org>--<name>/<etag>.lock          flock'ed by whoever downloads that blob
//   models--<org>--<name>/
//     blobs/<etag>                                     a file's bytes; while they come, <etag>.incomplete
//     refs/<revision>                                  the commit of a branch or tag, without a line end
//     snapshots/<commit>/<path>                        a relative link to the blob
//     trees/<commit>.json                              what the commit holds
//     .no_exist/<commit>/<path>                        empty: this commit has no such file
// Pure; any thread.
#pragma once

#include <string>
#include <string_view>

namespace quire {

class CacheLayout {
 public:
  CacheLayout(std::string cache_directory, std::string_view repo_id);

  const std::string& cache_directory() const { return cache_; }
  const std::string& folder() const { return folder_; }
  std::string Blob(std::string_view etag) const;
  std::string Incomplete(std::string_view etag) const;
  std::string Lock(std::string_view etag) const;
  std::string LockFolder() const;
  std::string Ref(std::string_view revision) const;
  std::string Snapshot(std::string_view commit) const;
  std::string SnapshotFile(std::string_view commit, std::string_view path) const;
  std::string Tree(std::string_view commit) const;
  std::string NoExist(std::string_view commit, std::string_view path) const;
  // What the link at SnapshotFile(commit, path) says.
  static std::string LinkTarget(std::string_view path, std::string_view etag);

 private:
  std::string cache_;
  std::string name_;  // models--org--name
  std::string folder_;
};

inline constexpr const char* kRepoFolderPrefix = "models--";

// "org/name" of "models--org--name"; empty for what is no folder of a model.
std::string RepoIdOfFolder(std::string_view folder_name);

}  // namespace quire
