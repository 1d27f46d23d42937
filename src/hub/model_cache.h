// A model in the cache: whether all that it needs is there, and how it is put there, file by file, so that a model that
// is found whole is whole. Any thread; processes may share the cache.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/cache_layout.h"
#include "hub/repo_listing.h"
#include "hub/repo_ref.h"
#include "quire/result.h"

namespace quire {

// The commit of ref.revision as the cache knows it; without a reference, the only snapshot there is. Empty: none.
std::string CachedCommit(const CacheLayout& layout, const RepoRef& ref);

// What the commit holds: by its list, if the cache has that, else by what its snapshot holds. `is_complete` says which.
struct CachedListing {
  std::vector<RepoFile> files;
  bool is_complete = false;
};
CachedListing ListCached(const CacheLayout& layout, const std::string& commit);

// The directory of the model, or its (first) GGUF file. kNotFound, with what is missing: it is not, or not wholly,
// there.
Result<std::string> FindInCache(const CacheLayout& layout, const RepoRef& ref);

// Whether the snapshot has the file, whole as far as its size says.
bool HasFile(const CacheLayout& layout, const std::string& commit, const RepoFile& file);

// REQUIRES: the file's blob is in the cache.
Status LinkFile(const CacheLayout& layout, const std::string& commit, const RepoFile& file);
Status WriteRef(const CacheLayout& layout, const std::string& revision, const std::string& commit);
Status WriteTree(const CacheLayout& layout, const std::string& commit, const std::vector<RepoFile>& files);
Status MarkAbsent(const CacheLayout& layout, const std::string& commit, const std::vector<std::string>& paths);
// So that backups may leave the cache out.
void TagCache(const std::string& cache_directory);

}  // namespace quire
