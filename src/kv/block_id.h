#pragma once

#include <cstdint>

namespace quire {

// A physical block of the KV pool: block_size token slots in every layer.
enum class BlockId : uint32_t {};

}  // namespace quire
