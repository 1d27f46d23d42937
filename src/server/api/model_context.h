// What every handler needs of the served model. Immutable but for the counters: any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/api/token_strings.h"
#include "server/api/unknown_fields.h"
#include "server/server.h"

namespace quire::server {

// What the engine cannot count.
struct ServerCounters {
  static constexpr size_t kNumStatuses = 600;
  std::array<std::atomic<uint64_t>, kNumStatuses> replies{};  // [status]
  UnknownFields unknown_fields;
};

struct ModelContext {
  ModelContext(const ServedModel& served, std::vector<std::string> served_names);

  // "" is the model itself.
  bool Serves(std::string_view name) const;

  const ServedModel model;
  const std::vector<std::string> names;  // at least one
  const TokenStrings token_strings;
  const int64_t created;          // when the server started: seconds since 1970
  const size_t max_prompt_bytes;  // a longer text has more tokens than the context
};

}  // namespace quire::server
