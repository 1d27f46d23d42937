// Which files of a repository a model needs. Either its safetensors with config and tokenizer, all at the top, or one
// GGUF model, whose parts may lie in a folder. Never pickles, other frameworks' weights, or the same weights twice.
// Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hub/repo_listing.h"
#include "quire/result.h"

namespace quire {

struct FileChoice {
  std::vector<RepoFile> files;      // small ones first: config, tokenizer, index; then weights
  size_t num_small = 0;             // files[0, num_small) are not weights
  std::string gguf;                 // the (first) GGUF file; empty: a directory of safetensors
  bool has_index = false;           // kIndexPath is among the small files, and decides which weights are needed
  std::vector<std::string> absent;  // paths that a model may have and this one has not
};

inline constexpr const char* kIndexPath = "model.safetensors.index.json";

// `selector`: of RepoRef. Without one, safetensors are taken if there are any, else the usual quantisation: Q4_K_M, or
// what is nearest to it. Errors name what there is instead.
Result<FileChoice> ChooseFiles(const std::vector<RepoFile>& listing, std::string_view selector);

// The choice with just those weights that the index names. Errors: an index that is none, or names files that the
// listing has not.
Result<FileChoice> WithIndex(const FileChoice& choice, const std::vector<RepoFile>& listing,
                             std::string_view index_json);

}  // namespace quire
