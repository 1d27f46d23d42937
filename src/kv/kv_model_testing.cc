// How operations are drawn and run, from an empty pool to one where nothing is left.
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

std::span<const KvModel::Choice> KvModel::ChoicesUnder(const KvModelConfig& config) {
  static constexpr Choice kPaged[] = {
      {kStart, 8, &KvModel::StartNew},
      {kStartLike, 8, &KvModel::StartLike},
      {kGrow, 14, &KvModel::Grow},
      {kRewrite, 2, &KvModel::Rewrite},
      {kFork, 3, &KvModel::Fork},
      {kForkPrefix, 1, &KvModel::ForkPrefix},
      {kStop, 6, &KvModel::Stop},
      {kAbort, 2, &KvModel::Abort},
      {kGiveBack, 12, &KvModel::GiveBack},
      {kForget, 1, &KvModel::Forget},
      {kSwapOut, 2, &KvModel::SwapOut},
      {kSwapIn, 3, &KvModel::SwapIn},
      {kEndSwapIn, 3, &KvModel::EndSwapIn},
      {kEvict, 3, &KvModel::Evict},
      {kBeginStore, 10, &KvModel::BeginStore},
      {kEndStore, 8, &KvModel::EndStore},
      {kEndLoad, 8, &KvModel::EndLoad},
      {kDamage, 1, &KvModel::Damage},
      {kPin, 1, &KvModel::AddPin},
      {kUnpin, 1, &KvModel::Unpin},
      {kReset, 1, &KvModel::Reset},
  };
  static constexpr Choice kContiguous[] = {
      {kStart, 6, &KvModel::StartReserved}, {kGrow, 8, &KvModel::GrowReserved}, {kFork, 2, &KvModel::ForkByCopy},
      {kStop, 3, &KvModel::Stop},           {kAbort, 1, &KvModel::Abort},       {kReset, 1, &KvModel::Reset},
  };
  return config.contiguous() ? std::span<const Choice>(kContiguous) : kPaged;
}

std::vector<Operation> KvModel::RandomOperations(const KvModelConfig& config, uint64_t seed, size_t count) {
  std::vector<Kind> urn;
  for (const Choice& choice : ChoicesUnder(config)) urn.insert(urn.end(), choice.weight, choice.kind);
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
  const std::span<const Choice> choices = ChoicesUnder(config_);
  const auto choice = std::ranges::find(choices, static_cast<Kind>(operation.kind), &Choice::kind);
  if (choice != choices.end() && (this->*choice->run)()) Count(choice->kind);
  CheckReferences();
  if (++num_steps_ % 32 == 0) CheckContents();
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

bool KvModel::has_windows() const {
  return std::ranges::any_of(config_.kv.groups, [](const KvGroup& group) { return group.window > 0; });
}

}  // namespace quire
