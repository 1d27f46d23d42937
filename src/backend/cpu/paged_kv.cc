#include "backend/cpu/paged_kv.h"

#include "backend/cpu/kernel_table.h"
#include "backend/ops.h"
#include "base/error.h"

namespace quire::cpu {

Result<std::unique_ptr<PagedKv>> PagedKv::Allocate(const KvShape& shape, MemoryPool& memory) {
  QUIRE_RETURN_IF_ERROR(ValidateKvShape(shape));
  if (shape.head_dim > kMaxHeadDim) {
    return InvalidArgument("heads of {} dimensions are not supported: at most {}", shape.head_dim, kMaxHeadDim);
  }
  QUIRE_ASSIGN_OR_RETURN(Buffer buffer, memory.Allocate(shape.BytesPerBlock() * static_cast<size_t>(shape.num_blocks)));
  return std::unique_ptr<PagedKv>(new PagedKv(shape, std::move(buffer)));
}

}  // namespace quire::cpu
