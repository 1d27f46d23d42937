#include "server/server.h"

#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "server/api/api.h"
#include "server/http/http_server.h"

namespace quire {
namespace {

class ServerImpl final : public HttpServer {
 public:
  ServerImpl(const ServerOptions& options, const ServedModel& model) : api_(options, model) {}
  ~ServerImpl() override { Stop(); }

  Status Listen(const ServerOptions& options) {
    QUIRE_ASSIGN_OR_RETURN(transport_, server::HttpTransport::Start(options.host, options.port, options.num_io_threads,
                                                                    options.limits, api_));
    LogInfo("listening host={} port={}", LogValue(options.host), port());
    return {};
  }

  uint16_t port() const override { return transport_->port(); }
  void StopAccepting() override { transport_->StopAccepting(); }
  size_t num_active_requests() const override { return transport_->num_active_requests(); }
  void Stop() override {
    if (transport_ != nullptr) transport_->Stop();
    api_.StopWorkers();
  }

 private:
  server::Api api_;
  std::unique_ptr<server::HttpTransport> transport_;  // calls api_
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::Start(const ServerOptions& options, const ServedModel& model) {
  auto server = std::make_unique<ServerImpl>(options, model);
  QUIRE_RETURN_IF_ERROR(server->Listen(options));
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace quire
