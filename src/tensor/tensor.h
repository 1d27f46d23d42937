// Tensor: a non-owning, dense, row-major view of up to four dimensions. It never allocates; Buffer owns, Arena lends.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>

#include "base/check.h"
#include "tensor/dtype.h"

namespace quire {

// Whose memory: the host's, or a device's, which only its operations may touch.
enum class Place : uint8_t { kHost, kDevice };

class Tensor {
 public:
  static constexpr int kMaxRank = 4;

  Tensor() = default;
  Tensor(void* data, DType dtype, std::initializer_list<int64_t> shape, Place place = Place::kHost)
      : data_(data), dtype_(dtype), place_(place) {
    QUIRE_CHECK(shape.size() <= kMaxRank);
    for (const int64_t dim : shape) shape_[static_cast<size_t>(rank_++)] = dim;
  }

  void* data() const { return data_; }
  DType dtype() const { return dtype_; }
  Place place() const { return place_; }
  int rank() const { return rank_; }
  int64_t dim(int i) const { return shape_[static_cast<size_t>(i)]; }
  int64_t size() const {
    int64_t product = 1;
    for (int i = 0; i < rank_; ++i) product *= dim(i);
    return product;
  }
  size_t bytes() const { return static_cast<size_t>(size()) * DTypeSize(dtype_); }
  bool empty() const { return data_ == nullptr; }

  // REQUIRES: dtype() is the storage format of T.
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  float* f32() const {
    QUIRE_CHECK(dtype_ == DType::kF32);
    return static_cast<float*>(data_);
  }

  // Rows [begin, end) of the first dimension.
  Tensor Rows(int64_t begin, int64_t end) const {
    Tensor rows = *this;
    const size_t row_bytes = dim(0) == 0 ? 0 : bytes() / static_cast<size_t>(dim(0));
    rows.data_ = static_cast<char*>(data_) + static_cast<size_t>(begin) * row_bytes;
    rows.shape_[0] = end - begin;
    return rows;
  }

 private:
  void* data_ = nullptr;
  DType dtype_ = DType::kF32;
  Place place_ = Place::kHost;
  int rank_ = 0;
  std::array<int64_t, kMaxRank> shape_ = {};
};

}  // namespace quire
