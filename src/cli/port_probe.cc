#include "cli/port_probe.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/error.h"

namespace quire {
namespace {

// 0, or errno.
int TryToListen(const addrinfo& address) {
  const int socket = ::socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC, address.ai_protocol);
  if (socket < 0) return errno;
  const int on = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  int error = bind(socket, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  if (error == 0 && listen(socket, 1) != 0) error = errno;  // it is here that another listener shows, if not before
  close(socket);
  return error;
}

Error Unusable(const std::string& host, uint16_t port, int error) {
  switch (error) {
    case EADDRINUSE:
      return Io("port {} of {} is in use by another program: stop that, or choose another port with --port", port,
                host);
    case EACCES:
      return Io("port {} of {} needs rights that this user does not have: choose one above 1023 with --port", port,
                host);
    case EADDRNOTAVAIL:
      return Io("{} is no address of this machine: choose one with --host, such as 127.0.0.1, or 0.0.0.0 for all",
                host);
    default:
      return Io("cannot listen on {} port {}: {}", host, port, std::strerror(error));
  }
}

}  // namespace

Status ProbePort(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int code = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found); code != 0) {
    return Io("--host {} cannot be resolved: {}", host, gai_strerror(code));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, freeaddrinfo);
  int first_error = 0;
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    const int error = TryToListen(*address);
    if (error == 0) return {};
    if (first_error == 0) first_error = error;
  }
  return Unusable(host, port, first_error);
}

}  // namespace quire
