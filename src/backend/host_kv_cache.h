// A KV cache in host memory, [layer][block][block_bytes]: what the backends that run on the CPU share. How keys and
// values lie within a block is each backend's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "backend/backend.h"

namespace quire {

class HostKvCache : public KvCache {
 public:
  // Of one layer.
  size_t block_bytes() const { return shape().BytesPerBlock() / static_cast<size_t>(shape().num_layers); }
  char* block(int32_t layer, uint32_t id) const {
    const size_t index = static_cast<size_t>(layer) * static_cast<size_t>(shape().num_blocks) + id;
    return static_cast<char*>(buffer_.data()) + index * block_bytes();
  }

  Status Populate(FunctionRef<bool()> goes_on) const { return buffer_.Populate(goes_on); }

  // Contracts are those of Backend's operations of the same names.
  void CopyBlocks(std::span<const std::pair<uint32_t, uint32_t>> copies) const;
  void ReadBlock(uint32_t id, std::byte* out) const;
  void WriteBlock(uint32_t id, const std::byte* in) const;

 protected:
  HostKvCache(const KvShape& shape, Buffer buffer) : KvCache(shape), buffer_(std::move(buffer)) {}

 private:
  Buffer buffer_;
};

}  // namespace quire
