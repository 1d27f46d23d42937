// KvModel: the block manager beside a naive model of it. The model stores every sequence as plain tokens, and for every
// slot of the pool, of swap space and of the disk what was last written there: the token and a print of everything
// before it, as keys and values depend on both. Whatever the production classes decide is carried out on these cells
// and compared. Test code only; one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "kv/disk_index.h"
#include "kv/kv_manager.h"
#include "kv/shrinking_run_testing.h"
#include "kv/swap_space.h"

namespace quire {

struct KvModelConfig {
  KvConfig kv;
  uint32_t num_swap_places = 0;
  uint32_t num_disk_blocks = 0;
  bool loses_copies = false;  // a planted defect: copy-on-write moves no content

  bool contiguous() const { return KvPolicy::Of(kv.policy).contiguous(); }
  // A small pool of some shape.
  static KvModelConfig Of(uint64_t seed);
};

class KvModel {
 public:
  enum Kind : uint8_t {
    kStart,       // a sequence, with what is cached of it in memory and on disk
    kStartLike,   // one that begins as another does
    kGrow,        // tokens more
    kGiveBack,    // what has fallen out of a window
    kRewrite,     // the tokens behind the last indexed block become others
    kFork,        // a sequence more in the group, of the same tokens
    kForkPrefix,  // or of its first blocks
    kStop,        // one sequence
    kAbort,       // a group, in any state
    kForget,      // one sequence, and what it held
    kSwapOut,     // a group
    kSwapIn,      // the content is back,
    kEndSwapIn,   // and its places are free
    kEvict,       // cached blocks, by taking them for a moment
    kBeginStore,  // a cached block goes to disk
    kEndStore,    // it has arrived, or not
    kEndLoad,     // a block has come from disk, or not
    kDamage,      // a file on disk
    kPin,         // the full blocks of a sequence
    kUnpin,
    kReset,  // the prefix cache
    kNumKinds,
    // Beyond the operations, what is counted: blocks,
    kHits = kNumKinds,
    kCopies,
    kDiskHits,
    kFailedLoads,
    kRefused,  // and requests for which there was no memory
    kNumCounts,
  };
  static const char* KindName(uint8_t kind);
  static std::vector<Operation> RandomOperations(const KvModelConfig& config, uint64_t seed, size_t count);
  // For RunInChild.
  static std::string Run(const KvModelConfig& config, std::span<const Operation> operations, RunProgress& progress);

 private:
  struct Cell {
    int32_t token = -1;
    uint64_t print = 0;
    friend bool operator==(const Cell&, const Cell&) = default;
  };
  struct Sequence {
    std::vector<Cell> cells;  // its tokens, with the prints that they should have
    SequenceKv kv;
    bool findable = true;  // whoever starts with the same tokens hits its indexed blocks
    std::vector<int32_t> Tokens() const;
  };
  struct Load {
    KvManager::Load load;
    bool done = false;
    bool succeeded = false;
  };
  enum class State : uint8_t { kRunning, kLoading, kSwapped, kAbortedWhileLoading };
  struct Group {
    uint32_t scope = 0;
    State state = State::kRunning;
    std::vector<std::unique_ptr<Sequence>> sequences;
    std::vector<Load> loads;
    uint32_t num_matched = 0;                    // full blocks of tokens that were there, or are loaded
    SwappedTables swapped;                       // of a swapped group, and of a running one until kEndSwapIn
    std::vector<std::vector<SwapPlace>> places;  // [sequences x KV groups]: where the cells should be
  };
  struct File {
    std::vector<Cell> cells;
    bool damaged = false;
  };
  struct Past {
    uint32_t scope = 0;
    std::vector<int32_t> tokens;
  };
  struct Store {
    BlockId block = {};
    PrefixDigest digest;
    std::vector<Cell> cells;
  };
  struct Pin {
    uint32_t scope = 0;
    std::vector<Cell> cells;
    SequenceKv kv;
    bool findable = true;
  };

  struct Choice {
    Kind kind;
    uint32_t weight;         // how often it is drawn, of the sum
    bool (KvModel::*run)();  // whether it did something
  };

  static constexpr uint32_t kNumScopes = 3;
  static constexpr uint32_t kMaxGroups = 8;
  static constexpr uint32_t kMaxSequences = 4;  // of a group
  static PrefixScope ScopeOf(uint32_t scope);

  KvModel(const KvModelConfig& config, RunProgress& progress);

  static std::span<const Choice> ChoicesUnder(const KvModelConfig& config);
  // The production classes and the model agree, or the run ends.
  static void Expect(bool holds, const char* what);

  void Do(const Operation& operation);
  void Finish();

  // Sequences.
  bool StartNew();
  bool Start(std::vector<int32_t> tokens, uint32_t scope, uint32_t min_hits);
  bool StartLike();
  bool StartLikePast();
  bool Grow();
  bool GiveBack();
  bool Rewrite();
  bool Fork();
  bool ForkPrefix();
  bool Stop();
  bool Abort();
  bool Forget();
  void AbortGroup(size_t index);
  bool Write(const Group& group, Sequence& sequence, uint32_t begin);
  void Commit(const Group& group, Sequence& sequence);
  void Extend(Sequence& sequence, uint32_t scope, std::span<const int32_t> tokens) const;

  // Swap space.
  bool SwapOut();
  bool SwapIn();
  bool EndSwapIn();

  // The disk.
  void StartLoading(Group& group, Sequence& sequence, const KvManager::Match& match);
  bool BeginStore();
  bool EndStore();
  bool EndLoad();
  void FinishLoading(Group& group);
  bool Damage();

  // The prefix cache.
  bool Evict();
  bool AddPin();
  bool Unpin();
  bool Reset();

  // Under a contiguous policy.
  bool StartReserved();
  bool GrowReserved();
  bool ForkByCopy();
  void CheckChunks(uint32_t num_slots) const;

  // Every step; and the full scan.
  void CheckReferences() const;
  void CheckContents() const;
  void CheckTables(std::span<const Cell> cells, const SequenceKv& kv) const;

  uint32_t Draw(uint32_t n);  // below n, of the running operation
  std::vector<int32_t> DrawTokens(uint32_t count);
  Group* DrawGroup(State state);
  bool has_windows() const;
  // What a group's slot holds of a cell: no two groups' blocks are alike.
  static Cell InGroup(const Cell& cell, uint32_t kv_group) { return {cell.token, cell.print + kv_group}; }
  std::vector<Cell> CellsInGroup(std::span<const Cell> cells, uint32_t index, uint32_t kv_group) const;
  template <typename Cells>
  auto CellsOf(Cells& cells, uint32_t index) const {
    return std::span(cells).subspan(size_t{index} * block_size_, block_size_);
  }
  std::span<Cell> PoolCells(BlockId block) { return CellsOf(pool_cells_, static_cast<uint32_t>(block)); }
  std::span<const Cell> PoolCells(BlockId block) const { return CellsOf(pool_cells_, static_cast<uint32_t>(block)); }
  std::span<Cell> SwapCells(SwapPlace place) { return CellsOf(swap_cells_, static_cast<uint32_t>(place)); }
  std::span<const Cell> SwapCells(SwapPlace place) const { return CellsOf(swap_cells_, static_cast<uint32_t>(place)); }
  void Count(Kind what, uint64_t n = 1) { progress_.counts[what] += n; }

  const KvModelConfig config_;
  const uint32_t block_size_;
  RunProgress& progress_;
  KvManager kv_;
  SwapSpace swap_;
  DiskIndex disk_;
  std::vector<Cell> pool_cells_;  // [blocks, block_size]
  std::vector<Cell> swap_cells_;  // [places, block_size]
  std::unordered_map<PrefixDigest, File> files_;
  std::vector<std::unique_ptr<Group>> groups_;
  std::vector<Store> stores_;
  std::vector<Pin> pins_;
  std::vector<Past> past_;  // some sequences that were stopped
  uint64_t random_ = 0;
  uint64_t num_steps_ = 0;
};

}  // namespace quire
