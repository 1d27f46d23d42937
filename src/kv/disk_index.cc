#include "kv/disk_index.h"

#include <utility>

#include "base/check.h"

namespace quire {

DiskIndex::DiskIndex(uint32_t max_blocks, std::span<const PrefixDigest> contents) : max_blocks_(max_blocks) {
  for (auto digest = contents.rbegin(); digest != contents.rend(); ++digest) {
    if (Contains(*digest)) continue;
    if (size() == max_blocks_) {
      excess_.push_back(*digest);
    } else {
      entries_.emplace(*digest, by_use_.insert(by_use_.begin(), *digest));
    }
  }
}

bool DiskIndex::IsStored(const PrefixDigest& digest) const {
  const auto found = entries_.find(digest);
  return found != entries_.end() && found->second != UseList::const_iterator(by_use_.end());
}

bool DiskIndex::Touch(const PrefixDigest& digest) {
  const auto entry = entries_.find(digest);
  if (entry == entries_.end() || entry->second == by_use_.end()) return false;
  by_use_.splice(by_use_.end(), by_use_, entry->second);
  return true;
}

bool DiskIndex::BeginStore(const PrefixDigest& digest, std::vector<PrefixDigest>& drops) {
  if (Contains(digest)) return false;
  if (size() >= max_blocks_) {
    if (by_use_.empty()) return false;
    drops.push_back(by_use_.front());
    entries_.erase(by_use_.front());
    by_use_.pop_front();
  }
  entries_.emplace(digest, by_use_.end());
  return true;
}

void DiskIndex::EndStore(const PrefixDigest& digest, bool stored) {
  const auto entry = entries_.find(digest);
  QUIRE_CHECK(entry != entries_.end() && entry->second == by_use_.end(), "block {:016x}{:016x} is not being stored",
              digest.high, digest.low);
  if (stored) {
    entry->second = by_use_.insert(by_use_.end(), digest);
  } else {
    entries_.erase(entry);
  }
}

void DiskIndex::Forget(const PrefixDigest& digest) {
  const auto entry = entries_.find(digest);
  if (entry == entries_.end() || entry->second == by_use_.end()) return;
  by_use_.erase(entry->second);
  entries_.erase(entry);
}

void DiskIndex::Clear(std::vector<PrefixDigest>& drops) {
  for (const PrefixDigest& digest : by_use_) entries_.erase(digest);
  drops.insert(drops.end(), by_use_.begin(), by_use_.end());
  by_use_.clear();
}

std::vector<PrefixDigest> DiskIndex::TakeExcess() { return std::exchange(excess_, {}); }

void DiskIndex::CheckInvariants() const {
  QUIRE_CHECK_LE(size(), max_blocks_);
  QUIRE_CHECK_LE(by_use_.size(), entries_.size());
  for (auto use = by_use_.begin(); use != by_use_.end(); ++use) {
    const auto entry = entries_.find(*use);
    QUIRE_CHECK(entry != entries_.end() && entry->second == use);
  }
}

}  // namespace quire
