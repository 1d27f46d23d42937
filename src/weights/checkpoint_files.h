// Which files of a Hugging Face directory hold its weights. An index says which files to open; what they hold, they
// know themselves: names of tensors in an index are stale more often than wrong.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "quire/result.h"

namespace quire {

struct CheckpointFiles {
  std::vector<std::string> names;            // to be opened, sorted
  std::map<std::string, std::string> index;  // tensor -> file, as the index says; empty without one
};

// With model.safetensors.index.json: the files it names that are there. Without it, or if none of them is there:
// model.safetensors; else every *.safetensors but those of other layouts (consolidated*, adapter_model*). An error says
// what the directory holds instead.
Result<CheckpointFiles> FindCheckpointFiles(const std::string& directory);

inline constexpr const char* kIndexFile = "model.safetensors.index.json";

}  // namespace quire
