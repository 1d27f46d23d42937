#include "server/http/http_server.h"

#include <algorithm>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "server/http/http.h"
#include "server/http/http_connections.h"

namespace quire::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

class Transport final : public HttpTransport {
 public:
  Transport(int num_threads, const HttpLimits& limits, HttpService& service) : shared_(limits, service) {
    for (int i = 0; i < std::max(1, num_threads); ++i) threads_.push_back(std::make_unique<IoThread>());
  }
  ~Transport() override { Stop(); }

  Status Listen(const std::string& host, uint16_t port);
  void Run();

  uint16_t port() const override { return port_; }
  void StopAccepting() override;
  void Stop() override;
  size_t num_active_requests() const override { return shared_.num_active; }
  size_t num_connections() const override { return shared_.num_connections; }

 private:
  error_code ListenOn(const asio::ip::address& address, uint16_t port);
  asio::awaitable<void> Accept(tcp::acceptor& acceptor);
  void Adopt(IoThread& io, tcp::socket socket);
  void TurnAway(tcp::socket socket);

  HttpShared shared_;
  std::vector<std::unique_ptr<IoThread>> threads_;
  std::vector<tcp::acceptor> acceptors_;  // [addresses], on the first thread
  size_t next_thread_ = 0;
  uint16_t port_ = 0;
};

Status Transport::Listen(const std::string& host, uint16_t port) {
  error_code error;
  tcp::resolver resolver(threads_.front()->context());
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty()) return Io("cannot listen on {}: {}", host, error.message());
  port_ = port;
  for (const auto& entry : found) {
    const asio::ip::address address = entry.endpoint().address();
    error = ListenOn(address, port_);
    if (error && found.size() > 1) {
      LogWarning("listen_failed address={} port={} reason={}", address.to_string(), port_, LogValue(error.message()));
    }
  }
  if (acceptors_.empty()) return Io("cannot listen on {} port {}: {}", host, port, error.message());
  return {};
}

error_code Transport::ListenOn(const asio::ip::address& address, uint16_t port) {
  const tcp::endpoint endpoint(address, port);
  tcp::acceptor acceptor(threads_.front()->context());
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return error;
  port_ = acceptor.local_endpoint().port();
  acceptors_.push_back(std::move(acceptor));
  return {};
}

void Transport::Run() {
  for (tcp::acceptor& acceptor : acceptors_) {
    asio::co_spawn(threads_.front()->context(), Accept(acceptor), asio::detached);
  }
  for (const auto& thread : threads_) thread->Run();
}

asio::awaitable<void> Transport::Accept(tcp::acceptor& acceptor) {
  asio::steady_timer back_off(threads_.front()->context());
  while (shared_.accepting) {
    IoThread& io = *threads_[next_thread_++ % threads_.size()];
    tcp::socket socket(io.context());
    error_code error;
    co_await acceptor.async_accept(socket, asio::redirect_error(asio::use_awaitable, error));
    if (!shared_.accepting) break;
    if (error) {  // out of file descriptors, most likely
      LogWarning("accept_failed reason={}", LogValue(error.message()));
      back_off.expires_after(std::chrono::milliseconds(50));
      co_await back_off.async_wait(asio::redirect_error(asio::use_awaitable, error));
    } else if (shared_.num_connections >= shared_.limits.max_connections) {
      TurnAway(std::move(socket));
    } else {
      Adopt(io, std::move(socket));
    }
  }
}

void Transport::Adopt(IoThread& io, tcp::socket socket) {
  shared_.num_connections.fetch_add(1);
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  asio::post(io.context(), [this, &io, socket = std::move(socket)]() mutable { io.Adopt(std::move(socket), shared_); });
}

void Transport::TurnAway(tcp::socket socket) {
  HttpReply reply = shared_.service.ProtocolError(503, "the server has too many connections: try again later");
  std::string out;
  AppendReply(reply, {.keep_alive = false}, out);
  error_code ignored;
  socket.non_blocking(true, ignored);
  socket.write_some(asio::buffer(out), ignored);
  shared_.service.CountReply(reply.status);
}

void Transport::StopAccepting() {
  if (!shared_.accepting.exchange(false)) return;
  asio::post(threads_.front()->context(), [this] {
    error_code ignored;
    for (tcp::acceptor& acceptor : acceptors_) acceptor.close(ignored);
  });
  for (const auto& thread : threads_) thread->CloseSessions(true);
}

void Transport::Stop() {
  StopAccepting();
  for (const auto& thread : threads_) thread->CloseSessions(false);
  for (const auto& thread : threads_) thread->Join();
}

}  // namespace

Result<std::unique_ptr<HttpTransport>> HttpTransport::Start(const std::string& host, uint16_t port, int num_threads,
                                                            const HttpLimits& limits, HttpService& service) {
  auto transport = std::make_unique<Transport>(num_threads, limits, service);
  QUIRE_RETURN_IF_ERROR(transport->Listen(host, port));
  transport->Run();
  return std::unique_ptr<HttpTransport>(std::move(transport));
}

}  // namespace quire::server
