// /metrics: the engine's numbers in Prometheus' text format, under vLLM's names where vLLM has them, so that its
// dashboards and routers read them; what else there is begins with "quire:".
#pragma once

#include <cstddef>
#include <string>

namespace quire::server {

struct ModelContext;
struct ServerCounters;

inline constexpr const char* kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

std::string MetricsText(const ModelContext& context, const ServerCounters& counters);

}  // namespace quire::server
