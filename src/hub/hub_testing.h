// What the tests of the hub share: a cache written by hand, and listings from names alone.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/env_testing.h"
#include "hub/cache_layout.h"
#include "hub/model_cache.h"
#include "hub/repo_listing.h"

namespace quire::testing {

inline constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";

// Files of ten bytes each.
inline std::vector<RepoFile> Listing(const std::vector<std::string>& paths) {
  std::vector<RepoFile> files;
  files.reserve(paths.size());
  for (const std::string& path : paths) files.push_back({.path = path, .size = 10, .blob_id = std::string(40, 'a')});
  return files;
}

class CacheByHand {
 public:
  const std::string& path() const { return directory_.path(); }
  CacheLayout Layout(const std::string& repo_id) const { return {path(), repo_id}; }

  void Write(const std::string& name, const std::string& text) const {
    const std::string file = JoinPath(path(), name);
    QUIRE_CHECK(Env::Posix().CreateDirectories(std::filesystem::path(file).parent_path().string()).ok());
    QUIRE_CHECK(Env::Posix().WriteFile(file, text).ok());
  }
  // A file of a snapshot as a download leaves it: `text` in the blob, named by `etag`, and a link.
  void Add(const std::string& repo_id, const std::string& commit, const std::string& file, const std::string& etag,
           const std::string& text) const {
    const CacheLayout layout = Layout(repo_id);
    Write(layout.Blob(etag).substr(path().size() + 1), text);
    QUIRE_CHECK(LinkFile(layout, commit, {.path = file, .size = text.size(), .blob_id = etag}).ok());
  }

 private:
  TemporaryDirectory directory_;
};

}  // namespace quire::testing
