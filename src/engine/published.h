// Published: a value that one thread changes and others read, without waiting for each other: the writer never blocks,
// however slow a reader is, and a reader sees what was published last, whole. Three copies: the writer's, the latest,
// and the readers'.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

namespace quire {

template <typename T>
class Published {
 public:
  Published() = default;
  explicit Published(const T& value) : copies_{Copy{value}, Copy{value}, Copy{value}} {}
  Published(const Published&) = delete;
  Published& operator=(const Published&) = delete;

  // One thread at a time.
  void Publish(const T& value) {
    copies_[written_].value = value;
    written_ = latest_.exchange(static_cast<uint8_t>(written_ | kIsNew), std::memory_order_acq_rel) & kIndex;
  }
  // Calls fn with what was published last, and returns what it returns. Readers wait for each other. Any thread.
  template <typename Fn>
  auto Read(Fn fn) const {
    const std::lock_guard lock(readers_);
    if ((latest_.load(std::memory_order_relaxed) & kIsNew) != 0) {
      read_ = latest_.exchange(read_, std::memory_order_acq_rel) & kIndex;
    }
    return fn(copies_[read_].value);
  }

 private:
  static constexpr uint8_t kIndex = 3, kIsNew = 4;
  // On lines of their own: the writer's is touched all the time.
  struct alignas(64) Copy {
    T value{};
  };

  std::array<Copy, 3> copies_;
  uint8_t written_ = 0;                     // the writer's
  mutable std::atomic<uint8_t> latest_{1};  // with kIsNew: nobody has read it
  mutable uint8_t read_ = 2;                // the readers'
  mutable std::mutex readers_;
};

}  // namespace quire
