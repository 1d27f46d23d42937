// Small files of a checkpoint's directory. Pure; any thread.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "quire/result.h"

namespace quire {

// Nothing when there is no such file; an error if it is what a failed download leaves.
Result<std::optional<std::string>> ReadCheckpointFile(const std::filesystem::path& path);
// An object, as Python writes it, without the members of its "added_tokens_decoder"; an empty one when there is no such
// file.
Result<nlohmann::ordered_json> ReadCheckpointJson(const std::filesystem::path& path);

}  // namespace quire
