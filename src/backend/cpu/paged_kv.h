// The CPU's paged cache: [layer][block][kv_head], each with keys transposed [head_dim][block_size], so that scores of
// neighbouring positions are neighbouring lanes, then values [block_size][head_dim].
#pragma once

#include <memory>
#include <utility>

#include "backend/backend.h"

namespace quire::cpu {

class PagedKv : public KvCache {
 public:
  static Result<std::unique_ptr<PagedKv>> Allocate(const KvShape& shape);

  // Of one layer.
  size_t block_bytes() const { return shape().BytesPerBlock() / static_cast<size_t>(shape().num_layers); }
  char* block(int32_t layer, uint32_t id) const {
    const size_t index = static_cast<size_t>(layer) * static_cast<size_t>(shape().num_blocks) + id;
    return static_cast<char*>(buffer_.data()) + index * block_bytes();
  }
  // Keys of one head in a block start here; its values follow after head_bytes() / 2.
  size_t head_bytes() const { return block_bytes() / static_cast<size_t>(shape().num_kv_heads); }

 private:
  PagedKv(const KvShape& shape, Buffer buffer) : KvCache(shape), buffer_(std::move(buffer)) {}

  Buffer buffer_;
};

}  // namespace quire::cpu
