// Whether a server can listen, asked before the model is loaded.
#pragma once

#include <cstdint>
#include <string>

#include "quire/result.h"

namespace quire {

// Binds the host's addresses in turn, each for a moment, until one can be bound. The error, if none can, names host and
// port, and says what to do. Port 0 is always free.
Status ProbePort(const std::string& host, uint16_t port);

}  // namespace quire
