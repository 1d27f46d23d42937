#include "engine/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace quire {

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include_stop_in_output)
    : stops_(std::move(stops)), include_stop_in_output_(include_stop_in_output) {
  // Longest first, so that of those that start at one place the longest is found.
  std::stable_sort(stops_.begin(), stops_.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
}

size_t StopMatcher::HeldBackLength() const {
  size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (size_t length = std::min(stop.size() - 1, pending_.size()); length > longest; --length) {
      if (std::string_view(pending_).ends_with(std::string_view(stop).substr(0, length))) longest = length;
    }
  }
  return longest;
}

std::optional<std::string> StopMatcher::Append(std::string_view piece, std::string& out) {
  if (stops_.empty()) {
    out += piece;
    return std::nullopt;
  }
  pending_ += piece;
  size_t found_at = std::string::npos;
  const std::string* found = nullptr;
  for (const std::string& stop : stops_) {
    const size_t at = pending_.find(stop);
    if (at < found_at) {
      found_at = at;
      found = &stop;
    }
  }
  if (found != nullptr) {
    out.append(pending_, 0, found_at + (include_stop_in_output_ ? found->size() : 0));
    pending_.clear();
    return *found;
  }
  const size_t held = HeldBackLength();
  out.append(pending_, 0, pending_.size() - held);
  pending_.erase(0, pending_.size() - held);
  return std::nullopt;
}

void StopMatcher::Flush(std::string& out) { out += std::exchange(pending_, {}); }

}  // namespace quire
