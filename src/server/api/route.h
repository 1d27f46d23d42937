// What a route of the API is. The table of all of them is in routes.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "server/http/http.h"

namespace quire::server {

struct ModelContext;
struct ServerCounters;
class WorkerPool;

// A request and what it may be answered with. The context, the counters and the workers outlive the exchange; what else
// a handler wants to keep, it copies.
struct Call {
  const HttpRequest& request;
  std::string_view rest;  // of the path, behind a route's final slash
  const ModelContext& context;
  ServerCounters& counters;
  WorkerPool& workers;
  const std::function<void()>& notify;  // as in HttpService::Start
};

enum class Access : uint8_t {
  kOpen,
  kWithKey,
  kMetrics
};  // kMetrics: with a key, unless the server lets dashboards in
enum class RunsOn : uint8_t { kIoThread, kWorker };

struct Route {
  std::string_view method;  // GET answers HEAD, too
  std::string_view path;    // with a final slash: whatever goes on from there
  Access access = Access::kWithKey;
  RunsOn runs_on = RunsOn::kWorker;  // on an I/O thread only what is quick
  std::unique_ptr<HttpExchange> (*answer)(const Call& call) = nullptr;

  bool MatchesPath(std::string_view asked) const;
  bool MatchesMethod(std::string_view asked) const { return asked == method || (asked == "HEAD" && method == "GET"); }
};

std::span<const Route> Routes();

}  // namespace quire::server
