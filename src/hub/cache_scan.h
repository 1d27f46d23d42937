// What models the cache holds, and how they leave it. Others may add and remove meanwhile: what has gone is skipped.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hub/repo_ref.h"
#include "quire/result.h"

namespace quire {

struct CachedRevision {
  std::string commit;
  std::vector<std::string> refs;  // that name it: "main"
  std::vector<std::string> files;
  std::vector<std::string> formats;  // "safetensors", "GGUF Q4_K_M"
  uint64_t num_bytes = 0;
};

struct CachedRepo {
  std::string repo_id;
  std::vector<CachedRevision> revisions;  // those that references name first
  uint64_t num_bytes = 0;                 // on the disk: a blob of several revisions counts once, parts of files too
  uint64_t incomplete_bytes = 0;          // of that, parts of files whose download has not ended
};

// Sorted by name. A cache that is not there is empty.
std::vector<CachedRepo> ScanCache(const std::string& cache_directory);

// Removes a repository, or with `only_revision` the ref's revision and the blobs that no other revision needs; with a
// selector, the GGUF files that it means. Returns the bytes that came free. kNotFound: there is no such thing, with
// what there is. kUnavailable: somebody downloads it right now.
Result<uint64_t> RemoveFromCache(const std::string& cache_directory, const RepoRef& ref, bool only_revision);

}  // namespace quire
