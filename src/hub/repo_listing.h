// What a commit of a repository holds: as the hub's API lists it, page by page, and as the cache keeps it in
// trees/<commit>.json. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "quire/result.h"

namespace quire {

struct RepoFile {
  std::string path;      // "folder/name"
  uint64_t size = 0;     // of the file itself, not of an LFS pointer
  std::string blob_id;   // git's SHA-1 of the blob: of the pointer, where the file is in LFS
  std::string sha256;    // of a file in LFS; empty: it is in git itself
  std::string xet_hash;  // as the hub says, for others' use; may be empty

  // The name of its blob in the cache, by which its bytes are checked, too.
  const std::string& etag() const { return sha256.empty() ? blob_id : sha256; }
};

// Adds the files of a page of /api/models/<id>/tree/<commit>?recursive=true to `files`. Errors: what is no such page,
// paths that lead out of the repository, digests that are none.
Status AddListingPage(std::string_view json, std::vector<RepoFile>& files);

// The file of huggingface_hub's tree cache, byte for byte. `files` in any order.
std::string FormatTreeFile(const std::vector<RepoFile>& files);
// Sorted by path. Errors: what is no such file, or of another version.
Result<std::vector<RepoFile>> ParseTreeFile(std::string_view json);

}  // namespace quire
