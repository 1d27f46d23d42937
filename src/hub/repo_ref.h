// Names of models on the hub: org/name, with a revision, with the GGUF file that is meant. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "quire/result.h"

namespace quire {

struct RepoRef {
  std::string repo_id;            // "org/name", or a bare "name"
  std::string revision = "main";  // branch, tag, "refs/pr/1" or commit
  std::string selector;           // a quantisation ("Q4_K_M") or a file ("folder/name.gguf"); empty: none is asked for
};

// "org/name[@revision][:selector]", the two in any order; "hf.co/", "https://huggingface.co/" and "hf://" before it
// are skipped. The rules for names are those of the hub. `revision`: where the name states none; a name that states
// another one than that is an error, unless it is the usual "main".
Result<RepoRef> ParseRepoRef(std::string_view text, std::string_view revision = "main");

// 40 hexadecimal digits.
bool IsCommit(std::string_view text);
// A relative path in a repository, none of whose parts leads out of it or is hidden from whoever lists it.
bool IsSafePath(std::string_view path);
// Without the default revision: as people write it.
std::string FormatRepoRef(const RepoRef& ref);

}  // namespace quire
