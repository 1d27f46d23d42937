// What one client may take of the server.
#pragma once

#include <cstddef>

namespace quire::server {

struct HttpLimits {
  size_t max_header_bytes = 64 << 10;
  size_t max_body_bytes = size_t{32} << 20;
  // Of all bodies that are being read or that the service still has; no less than one may have. A body counts with the
  // length that is announced, or else as it grows; what is beyond is a 503.
  size_t max_total_body_bytes = size_t{1} << 30;
  int header_timeout_s = 30;
  int body_timeout_s = 120;
  int write_timeout_s = 60;  // a client that does not read
  int keep_alive_s = 60;
  size_t max_connections = 4096;
};

}  // namespace quire::server
