// KvSpace: how sequences hold KV memory: a pool with its prefix index, and the rule by which memory is promised. Two
// implementations: paged memory, which promises what is known to be needed, shares blocks and grows by them; and
// contiguous reservations for the longest answer (the paper's baselines), where streams share nothing and nothing
// grows. No caller asks which. Host logic; no thread safety.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kv/block_id.h"
#include "kv/kv_manager.h"
#include "kv/kv_policy.h"
#include "kv/sequence_kv.h"

namespace quire {

// The blocks that sequences of one request need at worst: those that are there once, each one's own, and, where there
// are several, those that the first one holds until the others have joined it.
struct KvWorstCase {
  uint64_t num_shared = 0;
  uint64_t num_own = 0;
  uint64_t num_to_join = 0;
  uint64_t total(uint64_t num_streams) const {
    return num_shared + num_streams * num_own + (num_streams > 1 ? num_to_join : 0);
  }
  // The most streams that num_blocks are enough for, up to max_streams.
  uint64_t MaxStreams(uint64_t num_blocks, uint64_t max_streams) const;
};
KvWorstCase WorstCaseOf(const KvConfig& config, uint32_t num_prompt_tokens, uint32_t max_total_tokens);

// What a request needs to enter.
struct KvEntry {
  KvDemand demand;
  uint32_t num_streams = 1;        // that it may come to have
  uint32_t num_branch_blocks = 0;  // of its other sequences, beyond what they share with the first
  bool alone = false;              // nobody else runs, whose growth a watermark would protect
};

class KvSpace {
 public:
  static std::unique_ptr<KvSpace> Make(const KvConfig& config);
  virtual ~KvSpace() = default;
  KvSpace(const KvSpace&) = delete;
  KvSpace& operator=(const KvSpace&) = delete;

  KvManager& cache() { return cache_; }
  const KvManager& cache() const { return cache_; }
  const BlockPool& pool() const { return cache_.pool(); }
  uint32_t block_size() const { return cache_.block_size(); }
  bool keeps_prefixes() const { return cache_.keeps_prefixes(); }
  uint32_t num_available() const { return pool().num_available(); }
  uint32_t num_groups() const { return static_cast<uint32_t>(cache_.groups().size()); }

  // Whether sequences give back what has fallen out of a window.
  bool gives_back() const { return gives_back_; }
  // How far a sequence that enters, with num_tokens tokens of which those before `begin` are there, has slots in a
  // group from the start. Of a window the rest comes as the sequence goes on: the first of a request has what a prompt
  // needs to go on, those that join it one row.
  virtual uint32_t ReservedEnd(uint32_t group, uint32_t begin, uint32_t num_tokens, bool is_first) const = 0;

  // Blocks that a request holds once it has entered, with its other sequences.
  virtual uint64_t NumToEnter(const KvEntry& entry, const KvManager::Match& match) const = 0;
  virtual bool CanEnter(const KvEntry& entry, const KvManager::Match& match) const = 0;
  // The first sequence takes what matches; `reserved`: the memory of streams to come, where these have some of their
  // own from the start. REQUIRES: CanEnter; the sequence is empty.
  virtual void Enter(const KvEntry& entry, const KvManager::Match& match, SequenceKv& kv,
                     std::vector<SequenceKv>& reserved) = 0;

  // Full blocks that a sequence can share with another one that begins with the same num_common tokens.
  virtual uint32_t NumShareable(uint32_t num_common) const = 0;
  // What Join takes from the pool, once the sequence's num_tokens tokens have the slots that are reserved for them.
  virtual uint32_t NumToJoin(uint32_t num_tokens, uint32_t num_shared, bool is_first) const = 0;
  // Blocks without which a sequence that comes back from swap space, and has so many tokens to compute, would soon have
  // to go again.
  virtual uint32_t NumToGoOn(uint32_t num_remaining) const = 0;
  // A sequence of a request whose first one runs: it shares that one's first num_shared blocks, as far as it needs
  // them. REQUIRES: the first one still has these.
  virtual void Join(SequenceKv& kv, const SequenceKv& first, uint32_t num_shared,
                    std::vector<SequenceKv>& reserved) = 0;

  struct Copy {
    uint32_t group = 0;
    uint32_t table_index = 0;
    BlockId source = {};
    BlockId destination = {};
  };
  // The child gets what the parent holds. Returns what has to be copied for it: of the parent's first num_blocks
  // blocks of each group those that are still seen, each to the child's own; nothing where blocks are shared.
  virtual std::vector<Copy> Fork(const SequenceKv& parent, SequenceKv& child, uint32_t num_blocks) = 0;
  // The child will be overwritten by a fork: its memory may be others' until then.
  virtual void Prune(SequenceKv& child) = 0;
  // Gives back, of windows, the blocks that no token behind the first num_tokens needs, nor a prefix of these in full
  // blocks. REQUIRES: gives_back().
  virtual void GiveBackUnseen(SequenceKv& kv, uint32_t num_tokens) = 0;

  // Free slots in pieces too small for this request, which waits: external fragmentation.
  virtual uint64_t NumExternalSlots(const KvEntry& entry) const = 0;
  // The most blocks that a table of a running sequence of num_tokens may have.
  virtual uint32_t MaxBlocks(uint32_t num_tokens) const = 0;

 protected:
  KvSpace(const KvConfig& config, bool gives_back) : cache_(config), gives_back_(gives_back) {}

 private:
  KvManager cache_;
  const bool gives_back_;
};

}  // namespace quire
