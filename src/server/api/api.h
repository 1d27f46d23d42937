// Api: whoever may call a route gets its answer. Any thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api/model_context.h"
#include "server/api/route.h"
#include "server/api/worker_pool.h"
#include "server/http/http.h"

namespace quire::server {

class Api final : public HttpService {
 public:
  Api(const ServerOptions& options, const ServedModel& model);

  std::optional<HttpReply> Refuse(const HttpRequest& head) override;
  std::unique_ptr<HttpExchange> Start(HttpRequest request, std::function<void()> notify) override;
  HttpReply ProtocolError(int status, std::string_view message) override;
  void CountReply(int status) override;

  // REQUIRES: no Start after this. Joins the workers.
  void StopWorkers() { workers_.Stop(); }

 private:
  bool IsAuthorized(const HttpRequest& head) const;
  std::unique_ptr<HttpExchange> Answer(const Route& route, const HttpRequest& request,
                                       const std::function<void()>& notify);

  const std::vector<std::string> api_keys_;
  const bool no_key_for_metrics_;
  const ModelContext context_;
  ServerCounters counters_;
  WorkerPool workers_;  // its tasks use all of the above
};

}  // namespace quire::server
