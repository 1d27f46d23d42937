// SwapStore: block-sized places outside the KV cache, where the blocks of preempted sequences wait. The runner moves
// the bytes (Backend::ReadBlock and WriteBlock) straight between the cache and the memory of a place: pages of a file
// (SwapFile) for the CPU, pinned host memory that the device copies to and from for a GPU.
//
// One thread calls it at a time; the memory of different places may be used from several.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quire/result.h"

namespace quire {

class SwapStore {
 public:
  virtual ~SwapStore() = default;

  virtual uint32_t num_places() const = 0;
  // KvShape::BytesPerBlock() of the cache that it serves.
  virtual size_t place_bytes() const = 0;

  // The memory of a place, to write a block to; what it held is gone. Whatever has to be done once before the place can
  // be used is done here, not when it is written to. An error (there is no room for it) concerns this place alone.
  // REQUIRES: place < num_places().
  virtual Result<std::byte*> PlaceForWrite(uint32_t place) = 0;
  // The same, to read what was written there; an error if that cannot be had.
  virtual Result<const std::byte*> PlaceForRead(uint32_t place) = 0;
};

}  // namespace quire
