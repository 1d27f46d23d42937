// Buffer: owner of anonymous memory, 64-byte aligned, zeroed, on huge pages where the system allows; move-only.
// Arena: a bump allocator over one Buffer for the scratch of a step: Reset() at its start, no heap in the step loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "quire/result.h"
#include "tensor/tensor.h"

namespace quire {

class Buffer {
 public:
  Buffer() = default;
  static Result<Buffer> Allocate(size_t bytes);  // kResourceExhausted names the size
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

class Arena {
 public:
  Arena() = default;
  explicit Arena(Buffer buffer) : buffer_(std::move(buffer)) {}

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
  size_t used_ = 0;
  size_t peak_ = 0;
};

}  // namespace quire
