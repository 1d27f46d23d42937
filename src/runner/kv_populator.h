// KvPopulator: makes the system give a KV cache's memory in the background, so that what has been promised to sequences
// cannot be taken by other programs before it is first written.
#pragma once

#include <memory>
#include <thread>

#include "backend/backend.h"
#include "quire/result.h"

namespace quire {

class KvPopulator {
 public:
  // Both outlive it. Whether it succeeds is logged.
  static Result<KvPopulator> Start(const Backend& backend, const KvCache& cache);
  // Until it has ended.
  void Join() { thread_.join(); }

 private:
  explicit KvPopulator(std::jthread thread) : thread_(std::move(thread)) {}

  std::jthread thread_;  // told to stop when the populator goes
};

}  // namespace quire
