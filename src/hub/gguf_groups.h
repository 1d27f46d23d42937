// The GGUF models of a repository: files of which each is one, or one's part (name-00001-of-00003.gguf). Pure; any
// thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hub/repo_listing.h"
#include "quire/result.h"

namespace quire {

struct GgufGroup {
  std::string stem;      // the path without ".gguf" and the part
  std::string label;     // its quantisation, as far as the name says: "Q4_K_M", "UD-Q4_K_XL", "BF16"; may be empty
  size_t num_parts = 1;  // as the names say
  std::vector<RepoFile> parts;  // those that are there, in order

  uint64_t size() const;
  bool complete() const { return parts.size() == num_parts; }
};

// Without projectors of images (mmproj) and importance matrices. Sorted by stem.
std::vector<GgufGroup> GroupGgufFiles(const std::vector<RepoFile>& listing);

// REQUIRES: !groups.empty(). The one that a selector means: a file's path or name, or what its stem ends with
// ("q4_k_m"); an empty one means the usual. Errors list what there is.
Result<GgufGroup> PickGguf(const std::vector<GgufGroup>& groups, std::string_view selector);

}  // namespace quire
