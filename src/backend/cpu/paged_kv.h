// The CPU's paged cache: [layer][block][kv_head], each with keys transposed [head_dim][block_size], so that scores of
// neighbouring positions are neighbouring lanes, then values [block_size][head_dim].
#pragma once

#include <memory>
#include <utility>

#include "backend/host_kv_cache.h"

namespace quire::cpu {

class PagedKv : public HostKvCache {
 public:
  static Result<std::unique_ptr<PagedKv>> Allocate(const KvShape& shape, MemoryPool& memory);

  // Keys of one head in a block start here; its values follow after head_bytes() / 2.
  size_t head_bytes() const { return block_bytes() / static_cast<size_t>(shape().num_kv_heads); }

 private:
  PagedKv(const KvShape& shape, Buffer buffer) : HostKvCache(shape, std::move(buffer)) {}
};

}  // namespace quire::cpu
