// Random operations on pool, tables and index, against a model that stores every sequence as plain tokens and every
// physical block as what was last written there.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "kv/kv_manager.h"

namespace quire {
namespace {

using Tokens = std::vector<int32_t>;

// A block's content is the whole prefix up to its end: what keys and values depend on.
class Model {
 public:
  explicit Model(uint64_t seed)
      : random_(seed), block_size_(1U << Below(4)), kv_(Config()), content_(kv_.pool().num_total() * block_size_) {}

  void Step() {
    const uint32_t dice = Below(8);
    if (dice < 2) Start();
    if (dice == 2) Fork();
    if (dice == 3 || dice == 4) Stop();
    if (dice > 4) Grow();
    Check();
  }

  void StopAll() {
    while (!sequences_.empty()) Stop();
    ASSERT_EQ(kv_.pool().num_used(), 0U);
    ASSERT_TRUE(kv_.ResetPrefixCache());
    ASSERT_EQ(kv_.pool().num_free(), kv_.pool().num_total());
  }

  uint64_t num_hits() const { return num_hits_; }
  uint64_t num_copies() const { return num_copies_; }

 private:
  struct Sequence {
    Tokens tokens;
    BlockTable table;
    PrefixChain chain;
  };

  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(random_() % n); }
  KvConfig Config() {
    return {.num_blocks = 4 + Below(20), .block_size = block_size_, .enable_prefix_caching = Below(4) != 0};
  }
  // Two letters, so that chains meet.
  Tokens RandomTokens(uint32_t count) {
    Tokens tokens(count);
    for (int32_t& token : tokens) token = static_cast<int32_t>(Below(2));
    return tokens;
  }
  Sequence& Any() { return sequences_[Below(static_cast<uint32_t>(sequences_.size()))]; }
  Tokens& CellAt(const BlockTable& table, size_t position) {
    return content_[static_cast<size_t>(table.blocks()[position / block_size_]) * block_size_ + position % block_size_];
  }

  void Start() {
    Sequence sequence{RandomTokens(1 + Below(3 * block_size_)), kv_.MakeTable(), {}};
    const KvManager::Match match = kv_.MatchPrefix({}, sequence.tokens);
    const uint32_t num_blocks = BlocksForTokens(sequence.tokens.size(), block_size_);
    if (kv_.CanStart(num_blocks, match, true) != KvFit::kNow) return;
    num_hits_ += match.blocks.size();
    sequence.table.Share(match.blocks);
    sequence.chain = match.chain;
    const auto computed = static_cast<uint32_t>(match.blocks.size()) * block_size_;
    sequences_.push_back(std::move(sequence));
    ASSERT_TRUE(Write(sequences_.back(), computed)) << "CanStart promised it";
  }

  void Grow() {
    if (sequences_.empty()) return;
    Sequence& sequence = Any();
    const auto begin = static_cast<uint32_t>(sequence.tokens.size());
    const Tokens more = RandomTokens(1 + Below(block_size_ + 1));
    sequence.tokens.insert(sequence.tokens.end(), more.begin(), more.end());
    if (!Write(sequence, begin)) sequence.tokens.resize(begin);
  }

  bool Write(Sequence& sequence, uint32_t begin) {
    const auto end = static_cast<uint32_t>(sequence.tokens.size());
    const uint32_t predicted = sequence.table.NumBlocksToWrite(begin, end);
    const uint32_t available = kv_.pool().num_available();
    std::vector<CopyOnWrite> copies;
    const bool done = sequence.table.PrepareWrite(begin, end, copies);
    EXPECT_EQ(done, predicted <= available);
    EXPECT_EQ(kv_.pool().num_available(), available - (done ? predicted : 0));
    if (!done) return false;
    num_copies_ += copies.size();
    for (const CopyOnWrite& copy : copies) {
      for (uint32_t i = 0; i < block_size_; ++i) {
        content_[static_cast<size_t>(copy.destination) * block_size_ + i] =
            content_[static_cast<size_t>(copy.source) * block_size_ + i];
      }
    }
    for (uint32_t i = begin; i < end; ++i) {
      EXPECT_EQ(kv_.pool().references(sequence.table.blocks()[i / block_size_]), 1U);
      CellAt(sequence.table, i) = Tokens(sequence.tokens.begin(), sequence.tokens.begin() + i + 1);
    }
    sequence.chain = kv_.Commit(sequence.table, {}, sequence.chain, sequence.tokens);
    return true;
  }

  void Fork() {
    if (sequences_.empty() || sequences_.size() > 12) return;
    const Sequence& parent = Any();
    Sequence child{parent.tokens, parent.table.Fork(), parent.chain};
    sequences_.push_back(std::move(child));
  }

  void Stop() {
    if (sequences_.empty()) return;
    std::swap(Any(), sequences_.back());
    sequences_.pop_back();
  }

  void Check() {
    kv_.CheckInvariants();
    std::map<BlockId, uint32_t> references;
    for (const Sequence& sequence : sequences_) {
      for (const BlockId block : sequence.table.blocks()) ++references[block];
      for (size_t i = 0; i < sequence.tokens.size(); ++i) {
        ASSERT_TRUE(std::ranges::equal(CellAt(sequence.table, i), std::span(sequence.tokens).first(i + 1)));
      }
    }
    ASSERT_EQ(kv_.pool().num_used(), references.size());
    for (const auto& [block, count] : references) ASSERT_EQ(kv_.pool().references(block), count);
  }

  std::mt19937_64 random_;
  const uint32_t block_size_;
  KvManager kv_;
  std::vector<Tokens> content_;  // [blocks, block_size]
  std::vector<Sequence> sequences_;
  uint64_t num_hits_ = 0;
  uint64_t num_copies_ = 0;
};

TEST(KvModelTest, EverySequenceReadsWhatItWroteUnderRandomSharingForkingAndEviction) {
  uint64_t num_hits = 0, num_copies = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Model model(seed);
    for (int step = 0; step < 400 && !HasFailure(); ++step) model.Step();
    model.StopAll();
    if (HasFailure()) return;
    num_hits += model.num_hits();
    num_copies += model.num_copies();
  }
  EXPECT_GT(num_hits, 500U);
  EXPECT_GT(num_copies, 500U);
}

}  // namespace
}  // namespace quire
