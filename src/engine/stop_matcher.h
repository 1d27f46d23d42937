// StopMatcher: finds stop strings in streamed text, across token boundaries. Text that may turn out to be the start of
// a stop string is held back until that is decided. One per request; not thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

class StopMatcher {
 public:
  StopMatcher(std::vector<std::string> stops, bool include_stop_in_output);

  // Takes the next piece; appends what may be shown to `out`. Returns the stop string that was completed: the earliest
  // in the text, the longest of those that start there. What follows it is dropped.
  std::optional<std::string> Append(std::string_view piece, std::string& out);
  // The text is over: what was held back is shown.
  void Flush(std::string& out);

  bool empty() const { return stops_.empty(); }

 private:
  size_t HeldBackLength() const;

  std::vector<std::string> stops_;
  bool include_stop_in_output_;
  std::string pending_;  // a proper prefix of some stop string, between calls
};

}  // namespace quire
