#include "server/api/unknown_fields.h"

#include <fmt/format.h>

#include <vector>

#include "base/log.h"
#include "server/api/json_fields.h"

namespace quire::server {

void UnknownFields::Note(std::span<const std::string> names) {
  count_ += names.size();
  std::vector<std::string> fresh;
  {
    std::lock_guard lock(mutex_);
    for (const std::string& name : names) {
      if (logged_.size() < kMaxNames && logged_.insert(name).second) fresh.push_back(Shorten(name));
    }
  }
  if (fresh.empty()) return;
  LogWarning("unknown_request_fields names={} note=\"they are ignored; told once for each name\"",
             LogValue(fmt::format("{}", fmt::join(fresh, ", "))));
}

}  // namespace quire::server
