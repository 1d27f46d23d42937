// Whether a server can listen, asked before the model is loaded.
#pragma once

#include <cstdint>
#include <string>

#include "quire/result.h"

namespace quire {

// Binds every address of the host for a moment, as the server will; an error if none can be bound names host and port,
// and says what to do. Port 0 is always free.
Status ProbePort(const std::string& host, uint16_t port);

}  // namespace quire
