// Buffer: owner of memory of a pool, 64-byte aligned, zeroed; move-only.
// MemoryPool: where memory comes from. HostMemory: anonymous, on huge pages where the system allows.
// Arena: a bump allocator over one Buffer for the scratch of a step: Reset() at its start, no heap in the step loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <utility>

#include "base/function_ref.h"
#include "quire/result.h"
#include "tensor/tensor.h"

namespace quire {

class MemoryPool;

class Buffer {
 public:
  Buffer() = default;
  static Result<Buffer> Allocate(size_t bytes);  // of HostMemory
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

  // The system may give memory only when it is first written. This makes it give all of it, now; contents stay, and
  // others may read and write them meanwhile. `goes_on` is asked every 64 MiB. kResourceExhausted: there is not so
  // much.
  Status Populate(FunctionRef<bool()> goes_on) const;

 private:
  friend class MemoryPool;
  Buffer(MemoryPool& pool, void* data, size_t bytes) : pool_(&pool), data_(data), bytes_(bytes) {}

  MemoryPool* pool_ = nullptr;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Outlives its buffers. Any thread.
class MemoryPool {
 public:
  virtual ~MemoryPool() = default;
  Result<Buffer> Allocate(size_t bytes);  // kResourceExhausted names the size

 private:
  friend class Buffer;
  // `bytes` are not 0. Null: there is no memory, and errno says why.
  virtual void* Take(size_t bytes) = 0;
  virtual void Release(void* data, size_t bytes) = 0;
  // False: there is no memory for it, and errno says why. By default, what is taken is there.
  virtual bool Populate(void* /*data*/, size_t /*bytes*/) { return true; }
};
MemoryPool& HostMemory();

class Arena {
 public:
  Arena() = default;
  // `place`: where the buffer's memory is.
  Arena(Buffer buffer, Place place) : buffer_(std::move(buffer)), place_(place) {}

  void Reset() { used_ = 0; }
  size_t capacity() const { return buffer_.bytes(); }
  size_t peak() const { return peak_; }

  // 64-byte aligned, not zeroed. CHECKs that it fits: capacity is planned when the model is built.
  void* Allocate(size_t bytes);
  Tensor NewTensor(DType dtype, std::initializer_list<int64_t> shape);

  // For scratch that ends before the step does: everything allocated after mark() is given back by Release(mark).
  size_t mark() const { return used_; }
  void Release(size_t mark) { used_ = mark; }

  static constexpr size_t Align(size_t bytes) { return (bytes + 63) & ~size_t{63}; }

 private:
  Buffer buffer_;
  Place place_ = Place::kHost;
  size_t used_ = 0;
  size_t peak_ = 0;
};

}  // namespace quire
