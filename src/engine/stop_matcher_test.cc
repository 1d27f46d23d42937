#include "engine/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

namespace quire {
namespace {

struct Outcome {
  std::string text;
  std::optional<std::string> stop;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome Stream(const std::vector<std::string>& pieces, const std::vector<std::string>& stops, bool include) {
  StopMatcher matcher(stops, include);
  Outcome outcome;
  for (const std::string& piece : pieces) {
    outcome.stop = matcher.Append(piece, outcome.text);
    if (outcome.stop) return outcome;
  }
  matcher.Flush(outcome.text);
  return outcome;
}

TEST(StopMatcher, FindsAStopAcrossPiecesAndDropsOrKeepsIt) {
  EXPECT_EQ(Stream({"one tw", "o th", "ree"}, {"two"}, false), (Outcome{"one ", "two"}));
  EXPECT_EQ(Stream({"one tw", "o th", "ree"}, {"two"}, true), (Outcome{"one two", "two"}));
}

TEST(StopMatcher, HoldsBackOnlyWhatMayBecomeAStop) {
  StopMatcher matcher({"END"}, false);
  std::string out;
  EXPECT_FALSE(matcher.Append("abcE", out));
  EXPECT_EQ(out, "abc");
  EXPECT_FALSE(matcher.Append("NE", out));
  EXPECT_EQ(out, "abcEN");
  matcher.Flush(out);
  EXPECT_EQ(out, "abcENE");
}

TEST(StopMatcher, AgreesWithASearchInTheWholeTextOnRandomSplits) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto draw = [&](size_t max_length) {
    std::string text(1 + random() % max_length, ' ');
    for (char& c : text) c = static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    const std::vector<std::string> stops = {draw(5), draw(4)};
    const std::string text = draw(30);
    size_t at = std::string::npos;
    for (const std::string& stop : stops) at = std::min(at, text.find(stop));
    std::vector<std::string> pieces;
    for (size_t begin = 0; begin < text.size();) {
      pieces.push_back(text.substr(begin, 1 + random() % 4));
      begin += pieces.back().size();
    }
    const Outcome streamed = Stream(pieces, stops, false);
    // A shorter stop may be completed by an earlier piece, before a longer one that starts sooner is: both are right.
    if (at == std::string::npos) {
      EXPECT_EQ(streamed, (Outcome{text, std::nullopt}));
    } else {
      ASSERT_TRUE(streamed.stop);
      EXPECT_TRUE(text.starts_with(streamed.text + *streamed.stop));
      EXPECT_GE(streamed.text.size(), at);
    }
  }
}

}  // namespace
}  // namespace quire
