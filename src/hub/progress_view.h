// How a download is shown: bars on a terminal, now and then a line in the log elsewhere. Thread-compatible.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "hub/download.h"

namespace quire {

// Bytes per second over the last seconds.
class RateMeter {
 public:
  // `total`: bytes so far.
  void Observe(TimeUs now, uint64_t total);
  double BytesPerSecond() const;

 private:
  std::deque<std::pair<TimeUs, uint64_t>> observed_;
};

// A line for each file that is under way, and one for all, none longer than `width` columns; pure.
std::vector<std::string> RenderProgress(const DownloadProgress& progress, double bytes_per_second, size_t width);

// For standard error, as it is at the time of the call.
ShowProgress MakeProgressView(const std::string& model);

}  // namespace quire
