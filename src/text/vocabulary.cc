#include "text/vocabulary.h"

#include <functional>

#include "base/check.h"

namespace quire::text {
namespace {

uint32_t HashOf(std::string_view token) { return static_cast<uint32_t>(std::hash<std::string_view>{}(token)); }

}  // namespace

size_t Vocabulary::Probe(std::string_view token, uint32_t hash) const {
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.entry < 0) return at;
    if (slot.hash == hash && TextOf(entries_[static_cast<size_t>(slot.entry)]) == token) return at;
  }
}

void Vocabulary::Grow() {
  std::vector<Slot> old = std::move(slots_);
  slots_.assign(old.empty() ? 1024 : old.size() * 2, Slot{});
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.entry < 0) continue;
    size_t at = slot.hash & mask;
    while (slots_[at].entry >= 0) at = (at + 1) & mask;
    slots_[at] = slot;
  }
}

void Vocabulary::Add(std::string_view token, int32_t id) {
  QUIRE_CHECK(id >= 0 && id <= kMaxId, "token id {}", id);
  if ((num_tokens_ + 1) * 2 > slots_.size()) Grow();
  const uint32_t hash = HashOf(token);
  Slot& slot = slots_[Probe(token, hash)];
  if (slot.entry < 0) {
    slot = {.hash = hash, .entry = static_cast<int32_t>(entries_.size())};
    entries_.push_back({.offset = arena_.size(), .size = static_cast<uint32_t>(token.size()), .id = id});
    arena_.append(token);
    ++num_tokens_;
  } else {
    Entry& entry = entries_[static_cast<size_t>(slot.entry)];
    texts_[static_cast<size_t>(entry.id)] = -1;
    entry.id = id;
  }
  if (static_cast<size_t>(id) >= texts_.size()) texts_.resize(static_cast<size_t>(id) + 1, -1);
  texts_[static_cast<size_t>(id)] = slot.entry;
}

std::optional<int32_t> Vocabulary::Find(std::string_view token) const {
  if (slots_.empty()) return std::nullopt;
  const Slot& slot = slots_[Probe(token, HashOf(token))];
  if (slot.entry < 0) return std::nullopt;
  return entries_[static_cast<size_t>(slot.entry)].id;
}

std::optional<std::string_view> Vocabulary::Text(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= texts_.size()) return std::nullopt;
  const int32_t entry = texts_[static_cast<size_t>(id)];
  if (entry < 0) return std::nullopt;
  return TextOf(entries_[static_cast<size_t>(entry)]);
}

}  // namespace quire::text
