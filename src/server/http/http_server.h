// The HTTP/1.1 server: accepts connections, reads requests within limits, and writes what an HttpService answers. Each
// connection lives on one I/O thread. It watches for the client's hanging up while an answer is made and while it
// streams, and destroys the exchange at once when that happens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "quire/result.h"

namespace quire::server {

class HttpService;
struct HttpLimits;

class HttpTransport {
 public:
  // Binds, listens and starts `num_threads` I/O threads. `service` outlives the transport. A host of several addresses,
  // like localhost, is listened to on each that can be bound; none is an error. Port 0: the same free one on all.
  static Result<std::unique_ptr<HttpTransport>> Start(const std::string& host, uint16_t port, int num_threads,
                                                      const HttpLimits& limits, HttpService& service);
  virtual ~HttpTransport() = default;  // Stop()

  virtual uint16_t port() const = 0;
  // No new connection; idle ones are closed; requests that are being read or answered go on.
  virtual void StopAccepting() = 0;
  // Closes every connection and joins the threads. All exchanges are destroyed then.
  virtual void Stop() = 0;
  // From a request's complete head to the last byte of its answer.
  virtual size_t num_active_requests() const = 0;
  virtual size_t num_connections() const = 0;

 protected:
  HttpTransport() = default;
};

}  // namespace quire::server
