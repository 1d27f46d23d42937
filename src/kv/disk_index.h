// DiskIndex: which prefixes are on disk, by digest, in order of last use; host logic without any file. It only decides:
// what to store, what to give up for it, what may be loaded. Who carries that out reports back. No thread safety. O(1)
// per operation.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <unordered_map>
#include <vector>

#include "kv/prefix_digest.h"

namespace quire {

class DiskIndex {
 public:
  // `contents`: what is on disk already, the least recently used first; what exceeds the capacity is to be dropped.
  DiskIndex(uint32_t max_blocks, std::span<const PrefixDigest> contents);
  DiskIndex(const DiskIndex&) = delete;
  DiskIndex& operator=(const DiskIndex&) = delete;

  uint32_t max_blocks() const { return max_blocks_; }
  // On disk or on its way there.
  uint32_t size() const { return static_cast<uint32_t>(entries_.size()); }
  bool Contains(const PrefixDigest& digest) const { return entries_.contains(digest); }
  // Stored completely, and so can be loaded.
  bool IsStored(const PrefixDigest& digest) const;
  // The same; counts as a use.
  bool Touch(const PrefixDigest& digest);

  // The block is about to be written. Appends to `drops` whatever must go for it. False: it is there already, there is
  // no capacity, or all of it is on its way.
  bool BeginStore(const PrefixDigest& digest, std::vector<PrefixDigest>& drops);
  // REQUIRES: the block is on its way.
  void EndStore(const PrefixDigest& digest, bool stored);
  // A load failed: the file is gone, damaged or not what its name says. A digest that is unknown, or on its way again,
  // is left alone.
  void Forget(const PrefixDigest& digest);
  // Gives up everything that is stored, appending it to `drops`; what is on its way stays.
  void Clear(std::vector<PrefixDigest>& drops);
  // Moves out what exceeded the capacity at the start.
  std::vector<PrefixDigest> TakeExcess();

  void CheckInvariants() const;

 private:
  using UseList = std::list<PrefixDigest>;

  const uint32_t max_blocks_;
  UseList by_use_;  // what is stored, the least recently used first
  // Where it is in by_use_; by_use_.end(): on its way to the disk.
  std::unordered_map<PrefixDigest, UseList::iterator> entries_;
  std::vector<PrefixDigest> excess_;
};

}  // namespace quire
