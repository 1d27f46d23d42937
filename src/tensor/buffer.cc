#include "tensor/buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace quire {

namespace {

class AnonymousMemory : public MemoryPool {
 private:
  void* Take(size_t bytes) override {
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return nullptr;
    constexpr size_t kHugePage = size_t{2} << 20;
    if (bytes >= kHugePage) madvise(data, bytes, MADV_HUGEPAGE);  // advice: failing costs speed only
    return data;
  }
  void Release(void* data, size_t bytes) override { munmap(data, bytes); }
  bool Populate(void* data, size_t bytes) override { return madvise(data, bytes, MADV_POPULATE_WRITE) == 0; }
};

}  // namespace

MemoryPool& HostMemory() {
  static AnonymousMemory memory;
  return memory;
}

Result<Buffer> MemoryPool::Allocate(size_t bytes) {
  if (bytes == 0) return Buffer();
  void* data = Take(bytes);
  if (data == nullptr) return ResourceExhausted("cannot allocate {} bytes: {}", bytes, std::strerror(errno));
  return Buffer(*this, data, bytes);
}

Result<Buffer> Buffer::Allocate(size_t bytes) { return HostMemory().Allocate(bytes); }

Status Buffer::Populate(FunctionRef<bool()> goes_on) const {
  constexpr size_t kPiece = size_t{64} << 20;
  for (size_t done = 0; done < bytes_ && goes_on(); done += kPiece) {
    if (pool_->Populate(static_cast<char*>(data_) + done, std::min(kPiece, bytes_ - done))) continue;
    return ResourceExhausted("of {} bytes the system gives only {}: {}", bytes_, done, std::strerror(errno));
  }
  return {};
}

Buffer::~Buffer() {
  if (data_ != nullptr) pool_->Release(data_, bytes_);
}

Buffer::Buffer(Buffer&& other) noexcept
    : pool_(other.pool_), data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void* Arena::Allocate(size_t bytes) {
  const size_t begin = used_;
  used_ += Align(bytes);
  QUIRE_CHECK(used_ <= buffer_.bytes(), "arena of {} bytes asked for {} more after {}", buffer_.bytes(), bytes, begin);
  peak_ = std::max(peak_, used_);
  return static_cast<char*>(buffer_.data()) + begin;
}

Tensor Arena::NewTensor(DType dtype, std::initializer_list<int64_t> shape) {
  const Tensor sized(nullptr, dtype, shape);
  return Tensor(Allocate(sized.bytes()), dtype, shape, place_);
}

}  // namespace quire
