// How operations are drawn, run and checked.
#include "kv/kv_model_testing.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>

namespace quire {
namespace {

// SplitMix64.
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

struct WeightedKind {
  KvModel::Kind kind;
  uint32_t weight;
};

constexpr WeightedKind kPagedKinds[] = {
    {KvModel::kStart, 8},     {KvModel::kStartLike, 8},  {KvModel::kGrow, 14},       {KvModel::kRewrite, 2},
    {KvModel::kFork, 3},      {KvModel::kForkPrefix, 1}, {KvModel::kStop, 6},        {KvModel::kAbort, 2},
    {KvModel::kGiveBack, 12}, {KvModel::kForget, 1},     {KvModel::kSwapOut, 2},     {KvModel::kSwapIn, 3},
    {KvModel::kEndSwapIn, 3}, {KvModel::kEvict, 3},      {KvModel::kBeginStore, 10}, {KvModel::kEndStore, 8},
    {KvModel::kEndLoad, 8},   {KvModel::kDamage, 1},     {KvModel::kPin, 1},         {KvModel::kUnpin, 1},
    {KvModel::kReset, 1},
};
constexpr WeightedKind kContiguousKinds[] = {
    {KvModel::kStart, 6}, {KvModel::kGrow, 8},  {KvModel::kFork, 2},
    {KvModel::kStop, 3},  {KvModel::kAbort, 1}, {KvModel::kReset, 1},
};

}  // namespace

KvModelConfig KvModelConfig::Of(uint64_t seed) {
  uint64_t random = Mix(seed);
  const auto draw = [&](uint32_t n) { return static_cast<uint32_t>((random = Mix(random)) % n); };
  KvModelConfig config;
  config.kv.block_size = 1U << draw(4);
  config.kv.num_blocks = 4 + draw(28);
  config.kv.enable_prefix_caching = draw(6) != 0;
  config.kv.hash_seed = seed;
  config.num_swap_places = draw(20);
  config.num_disk_blocks = draw(16);
  if (draw(3) == 0) {
    // Full layers beside windows, or windows alone.
    config.kv.groups.assign(draw(2), KvGroup{});
    for (uint32_t left = 1 + draw(2); left > 0; --left) config.kv.groups.push_back({.window = 1 + draw(24)});
    config.kv.num_blocks *= static_cast<uint32_t>(config.kv.groups.size());
  } else if (draw(4) == 0) {
    config.kv.policy = static_cast<KvPolicyKind>(1 + draw(3));
    config.kv.max_model_len = config.kv.block_size << draw(5);
  }
  return config;
}

const char* KvModel::KindName(uint8_t kind) {
  static constexpr const char* kNames[] = {
      "kStart",      "kStartLike", "kGrow",     "kGiveBack",    "kRewrite", "kFork",      "kForkPrefix",
      "kStop",       "kAbort",     "kForget",   "kSwapOut",     "kSwapIn",  "kEndSwapIn", "kEvict",
      "kBeginStore", "kEndStore",  "kEndLoad",  "kDamage",      "kPin",     "kUnpin",     "kReset",
      "kHits",       "kCopies",    "kDiskHits", "kFailedLoads", "kRefused"};
  static_assert(std::size(kNames) == kNumCounts);
  return kNames[kind];
}

std::vector<Operation> KvModel::RandomOperations(const KvModelConfig& config, uint64_t seed, size_t count) {
  const auto kinds = config.contiguous() ? std::span<const WeightedKind>(kContiguousKinds) : kPagedKinds;
  std::vector<Kind> urn;
  for (const auto& [kind, weight] : kinds) urn.insert(urn.end(), weight, kind);
  std::vector<Operation> operations(count);
  uint64_t random = Mix(seed);
  for (Operation& operation : operations) {
    random = Mix(random);
    operation = {.kind = urn[(random >> 32) % urn.size()], .seed = static_cast<uint32_t>(random)};
  }
  return operations;
}

std::string KvModel::Run(const KvModelConfig& config, std::span<const Operation> operations, RunProgress& progress) {
  try {
    KvModel model(config, progress);
    for (const Operation& operation : operations) {
      ++progress.num_begun;
      model.Do(operation);
    }
    model.Finish();
    return "";
  } catch (const std::runtime_error& problem) {
    return problem.what();
  }
}

PrefixScope KvModel::ScopeOf(uint32_t scope) {
  constexpr PrefixScope kScopes[kNumScopes] = {{"", 0}, {"salt", 0}, {"", 7}};
  return kScopes[scope];
}

void KvModel::Expect(bool holds, const char* what) {
  if (!holds) [[unlikely]]
    throw std::runtime_error(what);
}

KvModel::KvModel(const KvModelConfig& config, RunProgress& progress)
    : config_(config),
      block_size_(config.kv.block_size),
      progress_(progress),
      kv_(config.kv),
      swap_(config.num_swap_places),
      disk_(config.num_disk_blocks, {}),
      pool_cells_(size_t{config.kv.num_blocks} * block_size_),
      swap_cells_(size_t{config.num_swap_places} * block_size_) {}

uint32_t KvModel::Draw(uint32_t n) {
  random_ = Mix(random_);
  return static_cast<uint32_t>((random_ >> 32) % n);
}

// Two letters, so that prefixes meet.
std::vector<int32_t> KvModel::DrawTokens(uint32_t count) {
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(Draw(2));
  return tokens;
}

KvModel::Group* KvModel::DrawGroup(State state) {
  if (groups_.empty()) return nullptr;
  const auto size = static_cast<uint32_t>(groups_.size());
  for (uint32_t tries = 0, first = Draw(size); tries < size; ++tries) {
    Group& group = *groups_[(first + tries) % size];
    if (group.state == state) return &group;
  }
  return nullptr;
}

std::vector<int32_t> KvModel::Sequence::Tokens() const {
  std::vector<int32_t> tokens;
  tokens.reserve(cells.size());
  for (const Cell& cell : cells) tokens.push_back(cell.token);
  return tokens;
}

void KvModel::Do(const Operation& operation) {
  random_ = operation.seed;
  const bool done = config_.contiguous() ? DoContiguous(operation.kind) : DoPaged(operation.kind);
  if (done) Count(static_cast<Kind>(operation.kind));
  CheckReferences();
  if (++num_steps_ % 32 == 0) CheckContents();
}

bool KvModel::DoPaged(uint8_t kind) {
  switch (kind) {
    case kStart:
      return Start(DrawTokens(1 + Draw(4 * block_size_)), Draw(kNumScopes), 0);
    case kStartLike:
      return StartLike();
    case kGrow:
      return Grow();
    case kGiveBack:
      return GiveBack();
    case kRewrite:
      return Rewrite();
    case kFork:
      return Fork();
    case kForkPrefix:
      return ForkPrefix();
    case kStop:
      return Stop();
    case kAbort:
      return Abort();
    case kForget:
      return Forget();
    case kSwapOut:
      return SwapOut();
    case kSwapIn:
      return SwapIn();
    case kEndSwapIn:
      return EndSwapIn();
    case kEvict:
      return Evict();
    case kBeginStore:
      return BeginStore();
    case kEndStore:
      return EndStore();
    case kEndLoad:
      return EndLoad();
    case kDamage:
      return Damage();
    case kPin:
      return AddPin();
    case kUnpin:
      return Unpin();
    case kReset:
      return Reset();
    default:
      return false;
  }
}

bool KvModel::DoContiguous(uint8_t kind) {
  switch (kind) {
    case kStart:
      return StartReserved();
    case kGrow:
      return GrowReserved();
    case kFork:
      return ForkByCopy();
    case kStop:
      return Stop();
    case kAbort:
      return Abort();
    case kReset:
      return Reset();
    default:
      return false;
  }
}

// Everything ends, and nothing is left over.
void KvModel::Finish() {
  CheckContents();
  while (!groups_.empty()) {
    const size_t num_groups = groups_.size();
    if (groups_[0]->state != State::kAbortedWhileLoading) AbortGroup(0);
    while (groups_.size() == num_groups) EndLoad();
  }
  while (!stores_.empty()) EndStore();
  pins_.clear();
  CheckReferences();
  CheckContents();
  Expect(kv_.pool().num_used() == 0, "blocks are in use at the end");
  Expect(swap_.num_used() == 0, "swap places are in use at the end");
  Expect(kv_.ResetPrefixCache(), "the cache cannot be reset at the end");
  Expect(kv_.pool().num_free() == kv_.pool().num_total(), "blocks are not free at the end");
}

void KvModel::Extend(Sequence& sequence, uint32_t scope, std::span<const int32_t> tokens) const {
  for (const int32_t token : tokens) {
    const uint64_t before = sequence.cells.empty() ? scope + 1 : sequence.cells.back().print;
    sequence.cells.push_back({.token = token, .print = Mix(before ^ (static_cast<uint64_t>(token + 1) << 32))});
  }
}

void KvModel::CheckReferences() const {
  std::vector<uint32_t> references(kv_.pool().num_total());
  const auto count = [&](const SequenceKv& kv) {
    for (const BlockTable& table : kv.tables()) {
      for (const BlockId block : table.blocks()) ++references[static_cast<uint32_t>(block)];
    }
  };
  uint32_t num_swapped = 0;
  for (const auto& group : groups_) {
    for (const auto& sequence : group->sequences) count(sequence->kv);
    num_swapped += group->swapped.num_blocks();
  }
  for (const Pin& pin : pins_) count(pin.kv);
  for (const Store& store : stores_) ++references[static_cast<uint32_t>(store.block)];
  uint32_t num_used = 0;
  for (uint32_t i = 0; i < references.size(); ++i) {
    Expect(kv_.pool().references(BlockId{i}) == references[i], "a block's references are not its holders");
    if (references[i] > 0) ++num_used;
  }
  Expect(kv_.pool().num_used() == num_used, "the number of used blocks");
  Expect(kv_.pool().num_used() + kv_.pool().num_cached() + kv_.pool().num_free() == kv_.pool().num_total(),
         "used + cached + free = total");
  Expect(swap_.num_used() == num_swapped, "the number of used swap places");
  Expect(disk_.size() <= disk_.max_blocks() && files_.size() <= disk_.max_blocks(), "the disk's capacity");
}

bool KvModel::has_windows() const {
  return std::ranges::any_of(config_.kv.groups, [](const KvGroup& group) { return group.window > 0; });
}

std::vector<KvModel::Cell> KvModel::CellsInGroup(std::span<const Cell> cells, uint32_t index, uint32_t kv_group) const {
  const size_t begin = size_t{index} * block_size_;
  std::vector<Cell> in_group;
  for (const Cell& cell : cells.subspan(begin, std::min<size_t>(block_size_, cells.size() - begin))) {
    in_group.push_back(InGroup(cell, kv_group));
  }
  return in_group;
}

void KvModel::CheckTables(std::span<const Cell> cells, const SequenceKv& kv) const {
  const uint32_t num_blocks = BlocksForTokens(cells.size(), block_size_);
  for (uint32_t g = 0; g < kv.num_groups(); ++g) {
    const BlockTable& table = kv.table(g);
    const KvGroup& group = config_.kv.groups[g];
    Expect(table.first_block() <= group.FirstSeen(static_cast<uint32_t>(cells.size())) / block_size_,
           "a block that is still seen has been given back");
    for (uint32_t i = table.first_block(); i < num_blocks; ++i) {
      const std::vector<Cell> expected = CellsInGroup(cells, i, g);
      Expect(std::ranges::equal(PoolCells(table.at(i)).first(expected.size()), expected),
             "a block does not hold what its sequence wrote");
    }
  }
}

void KvModel::CheckContents() const {
  kv_.CheckInvariants();
  disk_.CheckInvariants();
  for (const auto& group : groups_) {
    for (size_t i = 0; i < group->sequences.size(); ++i) {
      const Sequence& sequence = *group->sequences[i];
      const std::span<const Cell> cells = sequence.cells;
      sequence.kv.CheckInvariants();
      if (group->state == State::kRunning) CheckTables(cells, sequence.kv);
      if (group->state != State::kSwapped) continue;
      const uint32_t num_blocks = BlocksForTokens(cells.size(), block_size_), num_groups = sequence.kv.num_groups();
      for (uint32_t g = 0; g < num_groups; ++g) {
        const std::vector<SwapPlace>& places = group->places[i * num_groups + g];
        const uint32_t first = num_blocks - static_cast<uint32_t>(places.size());
        for (uint32_t block = first; block < num_blocks; ++block) {
          const std::vector<Cell> expected = CellsInGroup(cells, block, g);
          Expect(std::ranges::equal(SwapCells(places[block - first]).first(expected.size()), expected),
                 "a swap place does not hold what was swapped out");
        }
      }
    }
  }
  for (const Pin& pin : pins_) CheckTables(pin.cells, pin.kv);
  for (uint32_t i = 0; i < kv_.pool().num_total(); ++i) {
    const BlockId block{i};
    if (!kv_.pool().reusable(block)) continue;
    Expect(std::ranges::equal(PoolCells(block), kv_.index().TokensOf(block), {}, &Cell::token),
           "the index names other tokens than the block holds");
  }
  for (const auto& [digest, cells] : files_) Expect(disk_.Contains(digest), "a file that nobody knows");
}

}  // namespace quire
