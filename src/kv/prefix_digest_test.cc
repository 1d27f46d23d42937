#include "kv/prefix_digest.h"

#include <gtest/gtest.h>

#include <numeric>
#include <unordered_set>
#include <vector>

namespace quire {
namespace {

using Tokens = std::vector<int32_t>;

TEST(PrefixDigestTest, IsTheSameInEveryProcess) {
  // Constants from another process: a change of the hash makes every prefix cache on disk foreign.
  EXPECT_EQ(RootDigest(7, "salt", 3), (PrefixDigest{0x225AF049A5B68D1F, 0xAAB1933A43475189}));
  EXPECT_EQ(NextDigest(RootDigest(0, "", 0), Tokens{1, 2, 3, 4}),
            (PrefixDigest{0x58C24041A0789686, 0x5757920A95B0E916}));
}

TEST(PrefixDigestTest, TheSeedAndTheSaltAndTheAdapterSetTheRoot) {
  const PrefixDigest root = RootDigest(1, "", 0);
  EXPECT_EQ(root, RootDigest(1, "", 0));
  EXPECT_NE(root, RootDigest(2, "", 0));
  EXPECT_NE(root, RootDigest(1, "a", 0));
  EXPECT_NE(root, RootDigest(1, "", 1));
  EXPECT_NE(RootDigest(1, "a", 0), RootDigest(1, "b", 0));
}

TEST(PrefixDigestTest, DependsOnTheParentAndOnEveryToken) {
  const PrefixDigest root = RootDigest(1, "", 0);
  Tokens tokens(kMaxDigestTokens);
  std::iota(tokens.begin(), tokens.end(), 0);
  std::unordered_set<PrefixDigest> digests{root};
  EXPECT_TRUE(digests.insert(NextDigest(root, tokens)).second);
  EXPECT_TRUE(digests.insert(NextDigest({root.high + 1, root.low}, tokens)).second);
  EXPECT_TRUE(digests.insert(NextDigest({root.high, root.low + 1}, tokens)).second);
  for (int32_t& token : tokens) {
    token += 1000;
    EXPECT_TRUE(digests.insert(NextDigest(root, tokens)).second);
  }
  for (size_t n = 0; n < tokens.size(); ++n) {
    EXPECT_TRUE(digests.insert(NextDigest(root, std::span(tokens).first(n))).second);
  }
}

}  // namespace
}  // namespace quire
