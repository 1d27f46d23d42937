// Token texts and their ids, both ways. Immutable after construction: any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quire/result.h"

namespace quire::text {

class Vocabulary {
 public:
  static constexpr int32_t kMaxId = (1 << 22) - 1;

  // A token that is given again gets the later id.
  // REQUIRES: 0 <= id <= kMaxId.
  void Add(std::string_view token, int32_t id);

  std::optional<int32_t> Find(std::string_view token) const;
  // The text of `id`; nothing if there is no such token.
  std::optional<std::string_view> Text(int32_t id) const;

  // Number of distinct tokens.
  size_t size() const { return num_tokens_; }
  int32_t end_id() const { return static_cast<int32_t>(texts_.size()); }  // largest id + 1

 private:
  struct Slot {
    uint32_t hash = 0;
    int32_t entry = -1;  // index into entries_, -1: free
  };
  struct Entry {
    size_t offset = 0;  // of its text in arena_
    uint32_t size = 0;
    int32_t id = 0;
  };

  std::string_view TextOf(const Entry& entry) const {
    return std::string_view(arena_).substr(entry.offset, entry.size);
  }
  // The slot of `token`, or the free one where it belongs.
  size_t Probe(std::string_view token, uint32_t hash) const;
  void Grow();

  std::string arena_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;     // open addressing; a power of two, at most half full
  std::vector<int32_t> texts_;  // id -> entry, -1: none
  size_t num_tokens_ = 0;
};

}  // namespace quire::text
