// Memory as sequences go on: room for their next rows, taken from younger ones if need be, and what windows leave
// behind.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "sched/residency.h"

namespace quire {

// Exactly what PrepareWrite of its sequences that decode takes: of those who write to a block that nobody else shares,
// the last one writes in place.
uint32_t Residency::NumBlocksToDecode(const SequenceGroup& group) const {
  if (group.sequences.size() == 1) {
    const Sequence& only = group.front();
    return only.kv.NumBlocksToWrite(only.kv.num_computed, only.num_tokens());
  }
  uint32_t num_blocks = 0;
  write_counts_.clear();
  for (const Sequence& sequence : group.sequences) {
    if (!sequence.decodes()) continue;
    for (const BlockTable& table : sequence.kv.tables()) num_blocks += NumBlocksToDecode(sequence, table);
  }
  return num_blocks;
}

uint32_t Residency::NumBlocksToDecode(const Sequence& sequence, const BlockTable& table) const {
  if (sequence.kv.num_computed == table.num_slots()) return 1;
  const BlockId block = table.at(sequence.kv.num_computed / parts_.config.block_size);
  const uint32_t num_references = parts_.space.pool().references(block);
  if (num_references == 1) return 0;
  auto seen = std::ranges::find(write_counts_, block, &std::pair<BlockId, uint32_t>::first);
  if (seen == write_counts_.end()) seen = write_counts_.insert(write_counts_.end(), {block, num_references});
  if (seen->second == 1) return 0;
  --seen->second;
  return 1;
}

bool Residency::PrepareDecode(SequenceGroup& group) {
  const uint32_t num_blocks = NumBlocksToDecode(group);
  if (num_blocks == 0) return true;  // nearly always
  if (!MakeRoom(group, num_blocks)) return false;
  for (Sequence& sequence : group.sequences) {
    if (sequence.decodes()) PrepareWrite(sequence, sequence.num_tokens());
  }
  return true;
}

void Residency::MakeRoomForPrompts(SequenceGroup& group) {
  for (Sequence& sequence : group.sequences) {
    if (!sequence.seat || sequence.num_remaining() <= 1) continue;
    const uint32_t next = sequence.kv.num_computed + 1;
    if (!MakeRoom(group, sequence.kv.NumBlocksToWrite(sequence.kv.num_computed, next))) return;
    PrepareWrite(sequence, next);
  }
}

// False: not now, because the group itself had to go, or transfers hold what it needs.
bool Residency::MakeRoom(SequenceGroup& group, uint32_t num_blocks) {
  while (parts_.space.num_available() < num_blocks) {
    if (!held_.empty()) {
      held_.clear();
      continue;
    }
    SequenceGroup& victim = *running_.back();
    if (running_.size() == 1) {
      // Alone, it has room for all that it may become: unless transfers hold some of it, for now.
      QUIRE_CHECK(parts_.builder.ledger().num_held_blocks() > 0, "request {} runs alone and needs {} more blocks of {}",
                  static_cast<uint64_t>(group.request.id), num_blocks, parts_.config.num_blocks);
      return false;
    }
    Preempt(victim);
    if (&victim == &group) return false;
  }
  return true;
}

void Residency::PrepareWrite(Sequence& sequence, uint32_t end) {
  for (uint32_t i = 0; i < sequence.kv.num_groups(); ++i) PrepareWrite(sequence, i, end);
}

void Residency::PrepareWrite(Sequence& sequence, uint32_t group, uint32_t end) {
  if (sequence.kv.table(group).NumBlocksToWrite(sequence.kv.num_computed, end) == 0) return;
  copies_.clear();
  // What is copied has to be in the runner's table.
  parts_.builder.SendBlocks(sequence, group, sequence.kv.num_computed);
  const bool prepared = sequence.kv.table(group).PrepareWrite(sequence.kv.num_computed, end, copies_);
  QUIRE_CHECK(prepared, "blocks for tokens {} to {} were available", sequence.kv.num_computed, end);
  parts_.builder.AddCopies(sequence, group, copies_);
  counters_.num_blocks_copied += copies_.size();
}

// How many of num_rows rows from `begin` on leave those who decode the room to grow by a block each in every group.
uint32_t Residency::NumFitting(const Sequence& sequence, uint32_t begin, uint32_t num_rows) const {
  const uint32_t num_available = parts_.space.num_available(), num_kept = num_seats_ * parts_.space.num_groups();
  const uint32_t num_spare = num_available - std::min(num_available, num_kept);
  uint32_t fits = 0;
  for (uint32_t too_many = num_rows + 1; too_many - fits > 1;) {
    const uint32_t count = fits + (too_many - fits) / 2;
    (sequence.kv.NumBlocksToWrite(begin, begin + count) <= num_spare ? fits : too_many) = count;
  }
  return fits;
}

uint32_t Residency::PreparePrompt(Sequence& sequence, uint32_t num_rows) {
  const uint32_t begin = sequence.kv.num_computed;
  if (sequence.kv.NumBlocksToWrite(begin, begin + num_rows) == 0) return num_rows;
  const uint32_t num_there = sequence.kv.num_slots() - begin;
  const uint32_t num_fitting = std::max(std::min(num_rows, num_there), NumFitting(sequence, begin, num_rows));
  PrepareWrite(sequence, begin + num_fitting);
  return num_fitting;
}

size_t Residency::PrepareDrafts(Sequence& sequence, size_t num_drafts) {
  const uint32_t num_known = sequence.num_tokens();
  const uint32_t num_fitting = NumFitting(sequence, num_known, static_cast<uint32_t>(num_drafts));
  if (num_fitting > 0) PrepareWrite(sequence, num_known + num_fitting);
  return num_fitting;
}

void Residency::GiveBackUnseen(const SequenceGroup& group, Sequence& sequence) {
  uint32_t num_seen = sequence.kv.num_computed;
  if (group.AwaitsJoin()) num_seen = std::min(num_seen, group.NumCommonTokens());
  parts_.space.GiveBackUnseen(sequence.kv, num_seen);
}

}  // namespace quire
