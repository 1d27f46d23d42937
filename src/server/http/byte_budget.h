// ByteBudget: what the bodies of all requests together may take of the memory, and the part of it that one body holds.
// Any thread; one share is used by one thread at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

namespace quire::server {

class ByteBudget {
 public:
  explicit ByteBudget(size_t max_bytes) : max_bytes_(max_bytes) {}

  // False, and nothing is taken, if there is not so much left.
  bool Take(size_t num_bytes) {
    size_t taken = num_taken_.load();
    do {
      if (num_bytes > max_bytes_ - taken) return false;
    } while (!num_taken_.compare_exchange_weak(taken, taken + num_bytes));
    return true;
  }
  void GiveBack(size_t num_bytes) { num_taken_.fetch_sub(num_bytes); }

 private:
  const size_t max_bytes_;
  std::atomic<size_t> num_taken_{0};  // at most max_bytes_
};

// Given back when it goes.
class ByteShare {
 public:
  ByteShare() = default;
  explicit ByteShare(std::shared_ptr<ByteBudget> budget) : budget_(std::move(budget)) {}
  ~ByteShare() {
    if (budget_ != nullptr) budget_->GiveBack(num_bytes_);
  }
  ByteShare(ByteShare&& other) noexcept
      : budget_(std::move(other.budget_)), num_bytes_(std::exchange(other.num_bytes_, 0)) {}
  ByteShare& operator=(ByteShare&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(num_bytes_, other.num_bytes_);
    return *this;
  }

  // Never shrinks. False, and nothing changes, if the budget does not have so much left. REQUIRES: it has a budget.
  bool GrowTo(size_t num_bytes) {
    if (num_bytes <= num_bytes_) return true;
    if (!budget_->Take(num_bytes - num_bytes_)) return false;
    num_bytes_ = num_bytes;
    return true;
  }

 private:
  std::shared_ptr<ByteBudget> budget_;
  size_t num_bytes_ = 0;
};

}  // namespace quire::server
