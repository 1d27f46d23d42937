// TransferCost: what moving a block to swap space and back costs, from measured steps; compared with what computing a
// sequence again would cost. A pure function of what was observed.
#pragma once

#include <cstdint>

namespace quire {

class TransferCost {
 public:
  void ObserveOut(uint32_t num_blocks, int64_t duration_us) { Observe(out_us_, num_blocks, duration_us); }
  void ObserveIn(uint32_t num_blocks, int64_t duration_us) { Observe(in_us_, num_blocks, duration_us); }

  // A price that speaks against swapping is not measured any more: it fades, until swapping is tried again.
  void Fade() {
    constexpr double kFade = 0.97;
    out_us_ *= kFade;
    in_us_ *= kFade;
  }

  // Both directions; a direction that was never measured counts as the other. 0: not known.
  double RoundTripUs(uint32_t num_blocks) const {
    const double out = out_us_ > 0 ? out_us_ : in_us_;
    const double in = in_us_ > 0 ? in_us_ : out_us_;
    return num_blocks * (out + in);
  }

 private:
  static void Observe(double& mean_us, uint32_t num_blocks, int64_t duration_us) {
    constexpr double kKeep = 0.75;
    if (num_blocks == 0) return;
    const double us = static_cast<double>(duration_us) / num_blocks;
    mean_us = mean_us > 0 ? kKeep * mean_us + (1 - kKeep) * us : us;
  }

  double out_us_ = 0;  // of a block, exponentially weighted
  double in_us_ = 0;
};

}  // namespace quire
