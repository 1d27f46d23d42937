// Intrusive doubly linked lists of block indices: every operation is O(1) and none allocates. A block is on at most one
// list at a time, so that all lists of a pool share one array of links. No thread safety.
#pragma once

#include <cstdint>
#include <vector>

#include "base/check.h"

namespace quire {

struct BlockLink {
  static constexpr uint32_t kNone = 0xFFFFFFFF;
  uint32_t prev = kNone;
  uint32_t next = kNone;
};

class BlockList {
 public:
  // REQUIRES: `links` outlives the list and keeps its size.
  explicit BlockList(std::vector<BlockLink>& links) : links_(links) {}

  uint32_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  uint32_t front() const { return head_; }
  uint32_t next(uint32_t index) const { return links_[index].next; }

  void PushBack(uint32_t index) {
    links_[index] = {tail_, BlockLink::kNone};
    (tail_ == BlockLink::kNone ? head_ : links_[tail_].next) = index;
    tail_ = index;
    ++size_;
  }

  void PushFront(uint32_t index) {
    links_[index] = {BlockLink::kNone, head_};
    (head_ == BlockLink::kNone ? tail_ : links_[head_].prev) = index;
    head_ = index;
    ++size_;
  }

  // REQUIRES: `index` is on this list.
  void Remove(uint32_t index) {
    QUIRE_CHECK(size_ > 0);
    const BlockLink link = links_[index];
    (link.prev == BlockLink::kNone ? head_ : links_[link.prev].next) = link.next;
    (link.next == BlockLink::kNone ? tail_ : links_[link.next].prev) = link.prev;
    links_[index] = {};
    --size_;
  }

  uint32_t PopFront() {
    QUIRE_CHECK(size_ > 0, "no free blocks available");
    const uint32_t index = head_;
    Remove(index);
    return index;
  }

 private:
  std::vector<BlockLink>& links_;
  uint32_t head_ = BlockLink::kNone;
  uint32_t tail_ = BlockLink::kNone;
  uint32_t size_ = 0;
};

}  // namespace quire
