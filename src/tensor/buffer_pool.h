// BufferPool: memory given out of one buffer, front to back, and taken back all at once: for weights, which come and go
// together. Any thread.
#pragma once

#include <atomic>
#include <cerrno>
#include <utility>

#include "tensor/buffer.h"

namespace quire {

class BufferPool : public MemoryPool {
 public:
  explicit BufferPool(Buffer buffer) : buffer_(std::move(buffer)) {}
  size_t capacity() const { return buffer_.bytes(); }
  // Of what is given out, with what each part is rounded up to (Arena::Align).
  size_t used() const { return used_; }

 private:
  void* Take(size_t bytes) override {
    const size_t begin = used_.fetch_add(Arena::Align(bytes));
    if (begin + bytes <= buffer_.bytes()) return static_cast<std::byte*>(buffer_.data()) + begin;
    errno = ENOMEM;
    return nullptr;
  }
  void Release(void* /*data*/, size_t /*bytes*/) override {}

  Buffer buffer_;
  std::atomic<size_t> used_ = 0;
};

}  // namespace quire
