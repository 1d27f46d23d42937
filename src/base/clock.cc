#include "base/clock.h"

namespace quire {
namespace {

class RealClock final : public Clock {
 public:
  TimeUs NowUs() const override {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  }
};

}  // namespace

const Clock& Clock::Real() {
  static const RealClock clock;
  return clock;
}

}  // namespace quire
