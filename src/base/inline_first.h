// InlineFirst: a fixed number of values, at least one, of which the first lies in the object itself: for what there is
// nearly always one of, and is looked at all the time.
#pragma once

#include <cstddef>
#include <iterator>
#include <utility>
#include <vector>

namespace quire {

template <typename T>
class InlineFirst {
  template <typename Owner, typename Value>
  class Iterator {
   public:
    using value_type = T;
    using difference_type = std::ptrdiff_t;

    Iterator() = default;
    Iterator(Owner* owner, size_t index) : owner_(owner), index_(index) {}
    Value& operator*() const { return (*owner_)[index_]; }
    Value* operator->() const { return &(*owner_)[index_]; }
    Iterator& operator++() {
      ++index_;
      return *this;
    }
    Iterator operator++(int) { return std::exchange(*this, Iterator(owner_, index_ + 1)); }
    friend bool operator==(const Iterator&, const Iterator&) = default;

   private:
    Owner* owner_ = nullptr;
    size_t index_ = 0;
  };

 public:
  explicit InlineFirst(T first, std::vector<T> others = {}) : first_(std::move(first)), others_(std::move(others)) {}

  size_t size() const { return 1 + others_.size(); }
  T& operator[](size_t index) { return index == 0 ? first_ : others_[index - 1]; }
  const T& operator[](size_t index) const { return index == 0 ? first_ : others_[index - 1]; }
  const T& front() const { return first_; }

  auto begin() { return Iterator<InlineFirst, T>(this, 0); }
  auto end() { return Iterator<InlineFirst, T>(this, size()); }
  auto begin() const { return Iterator<const InlineFirst, const T>(this, 0); }
  auto end() const { return Iterator<const InlineFirst, const T>(this, size()); }

 private:
  T first_;
  std::vector<T> others_;
};

}  // namespace quire
