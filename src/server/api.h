// The API's routes: who may call them, and what answers.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http.h"
#include "server/model_context.h"
#include "server/worker_pool.h"

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
  HttpReply Get(std::string_view path) const;
  // On a worker thread.
  std::unique_ptr<HttpExchange> Run(const HttpRequest& request, const std::function<void()>& notify);
  std::unique_ptr<HttpExchange> Generate(const HttpRequest& request, const std::function<void()>& notify);

  HttpReply Health() const;
  HttpReply Models() const;
  HttpReply Model(std::string_view name) const;
  bool IsAuthorized(const HttpRequest& head) const;

  const std::vector<std::string> api_keys_;
  const bool no_key_for_metrics_;
  const ModelContext context_;
  ServerCounters counters_;
  WorkerPool workers_;  // its tasks use all of the above
};

}  // namespace quire::server
