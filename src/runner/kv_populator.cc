#include "runner/kv_populator.h"

#include <system_error>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

namespace quire {
namespace {

void Populate(const std::stop_token& stopped, const Backend& backend, const KvCache& cache) {
  const TimeUs begin = Clock::Real().NowUs();
  const Status status = backend.PopulateKvCache(cache, [&] { return !stopped.stop_requested(); });
  if (stopped.stop_requested()) return;
  if (status.ok()) {
    LogInfo("kv_populated bytes={} seconds={:.3f}",
            cache.shape().BytesPerBlock() * static_cast<size_t>(cache.shape().num_blocks),
            static_cast<double>(Clock::Real().NowUs() - begin) * 1e-6);
  } else {
    LogWarning("kv_not_populated reason={}", LogValue(status.error().message));
  }
}

}  // namespace

Result<KvPopulator> KvPopulator::Start(const Backend& backend, const KvCache& cache) {
  try {
    return KvPopulator(std::jthread([&](const std::stop_token& stopped) { Populate(stopped, backend, cache); }));
  } catch (const std::system_error& error) {
    return ResourceExhausted("no thread can be started to populate the KV cache: {}", error.what());
  }
}

}  // namespace quire
