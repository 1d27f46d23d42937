// GGUF vocabularies small enough to read: what is special, what goes around a text, and what is refused.
#include "text/gguf_tokenizer.h"

#include <gmock/gmock.h>

#include <limits>
#include <string>
#include <vector>

#include "text/gguf_pre_tokenizer.h"
#include "text/pre_tokenizer.h"

namespace quire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Types = std::vector<int64_t>;

// Letters, "▁" and what they merge to, by scores.
GgufVocabulary ScoredVocabulary() {
  return {.model = "llama",
          .tokens = {"<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁a", "<tool>", "<pad>"},
          .scores = {0, 0, 0, -9, -9, -9, -2, -1, -1000, -1000},
          .token_types = {2, 3, 3, 1, 1, 1, 1, 1, 4, 5}};
}

GgufVocabulary ByteLevelVocabulary() {
  return {.model = "gpt2",
          .pre = "gpt-2",
          .tokens = {"a", "b", "Ġ", "ab", "Ġab", "<|im_end|>", "<|endoftext|>"},
          .token_types = {1, 1, 1, 1, 1, 3, 3},
          .merges = {"a b", "Ġ ab"},
          .eos_id = 5};
}

std::unique_ptr<Tokenizer> BuildOrFail(const GgufVocabulary& vocabulary) {
  auto tokenizer = Tokenizer::FromGguf(vocabulary);
  if (!tokenizer.ok()) ADD_FAILURE() << tokenizer.error().message;
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

std::vector<int32_t> IdsOf(const GgufVocabulary& vocabulary, const std::string& text) {
  const auto tokenizer = BuildOrFail(vocabulary);
  return tokenizer ? *tokenizer->Encode(text, true) : std::vector<int32_t>();
}

std::string Refusal(const GgufVocabulary& vocabulary) {
  const auto tokenizer = Tokenizer::FromGguf(vocabulary);
  EXPECT_FALSE(tokenizer.ok());
  return tokenizer.ok() ? "" : tokenizer.error().message;
}

TEST(GgufTokenizer, TheHighestScoreMergesFirst) {
  GgufVocabulary vocabulary = ScoredVocabulary();
  EXPECT_THAT(IdsOf(vocabulary, "ab"), ElementsAre(1, 7, 5)) << "a space in front, and \"▁a\" before \"ab\"";
  vocabulary.scores[6] = -0.5;
  EXPECT_THAT(IdsOf(vocabulary, "ab"), ElementsAre(1, 3, 6));
  vocabulary.scores[6] = vocabulary.scores[7];
  EXPECT_THAT(IdsOf(vocabulary, "ab"), ElementsAre(1, 3, 6)) << "of equal scores the lower id";
  vocabulary.merges = {"▁ a"};
  EXPECT_THAT(IdsOf(vocabulary, "ab"), ElementsAre(1, 7, 5)) << "merges that are stated go before scores";
}

TEST(GgufTokenizer, FlagsSayWhatGoesAroundAText) {
  GgufVocabulary vocabulary = ScoredVocabulary();
  vocabulary.add_bos = false;
  vocabulary.add_eos = true;
  vocabulary.add_space_prefix = false;
  EXPECT_THAT(IdsOf(vocabulary, "ab"), ElementsAre(6, 2));
  EXPECT_EQ(BuildOrFail(vocabulary)->Decode(std::vector<int32_t>{7, 5}, false), " ab");
  EXPECT_EQ(BuildOrFail(ScoredVocabulary())->Decode(std::vector<int32_t>{7, 5}, false), "ab");
  vocabulary.tokens = {"a", "b"};  // without a token there is nothing to add
  EXPECT_THAT(IdsOf(vocabulary, "ab"), ElementsAre(0, 1));
}

TEST(GgufTokenizer, TypesSayWhatIsSpecial) {
  const auto tokenizer = BuildOrFail(ScoredVocabulary());
  EXPECT_THAT(*tokenizer->Encode("a<tool>b</s><pad>", false), ElementsAre(7, 8, 3, 5, 2, 3, 0, 4, 0));
  EXPECT_TRUE(tokenizer->IsSpecial(0) && tokenizer->IsSpecial(1) && tokenizer->IsSpecial(2));
  EXPECT_FALSE(tokenizer->IsSpecial(8));
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{1, 8, 9, 4}, true), "<tool>a");
  EXPECT_EQ(tokenizer->eos_token_id(), 2);
  EXPECT_THAT(tokenizer->special_tokens(), ElementsAre(NamedToken{"bos_token", "<s>"}, NamedToken{"eos_token", "</s>"},
                                                       NamedToken{"unk_token", "<unk>"}));
}

TEST(GgufTokenizer, WithoutTypesRolesAndNamesSayIt) {
  GgufVocabulary vocabulary = ByteLevelVocabulary();
  vocabulary.tokens[5] = "<turn>";
  vocabulary.token_types = {};
  const auto tokenizer = BuildOrFail(vocabulary);
  EXPECT_THAT(*tokenizer->Encode("ab<turn> ab<|endoftext|>", true), ElementsAre(3, 5, 4, 6));
  EXPECT_THAT(tokenizer->end_token_ids(), ElementsAre(5, 6));
}

TEST(GgufTokenizer, AnswersEndAtWhatTheFileOrItsNameSays) {
  GgufVocabulary vocabulary = ByteLevelVocabulary();
  EXPECT_THAT(BuildOrFail(vocabulary)->end_token_ids(), ElementsAre(5, 6));
  vocabulary.token_types[6] = 1;  // a piece like others
  EXPECT_THAT(BuildOrFail(vocabulary)->end_token_ids(), ElementsAre(5));
  vocabulary.eot_id = 3;
  EXPECT_THAT(BuildOrFail(vocabulary)->end_token_ids(), ElementsAre(5, 3));
  vocabulary.tokens = {"a", "b", "<|end|>", "ab", "<|call|>", "<|return|>", "c"};
  vocabulary.token_types = {1, 1, 3, 1, 3, 3, 1};
  vocabulary.merges = {"a b"};
  vocabulary.eot_id.reset();
  EXPECT_THAT(BuildOrFail(vocabulary)->end_token_ids(), ElementsAre(5, 4)) << "\"<|end|>\" ends a part alone";
}

TEST(GgufTokenizer, IdsOutsideOfTheVocabularyCountAsAbsent) {
  GgufVocabulary vocabulary = ByteLevelVocabulary();
  vocabulary.eos_id = 7;
  vocabulary.bos_id = -1;
  vocabulary.padding_id = std::numeric_limits<int64_t>::max();
  vocabulary.add_bos = true;
  const auto tokenizer = BuildOrFail(vocabulary);
  EXPECT_FALSE(tokenizer->eos_token_id().has_value());
  EXPECT_THAT(tokenizer->special_tokens(), IsEmpty());
  EXPECT_THAT(*tokenizer->Encode("ab", true), ElementsAre(3));
}

TEST(GgufTokenizer, EveryNamedPreTokenizerCutsText) {
  const std::string names = Refusal({.model = "gpt2", .pre = "abacus", .tokens = {"a"}});
  EXPECT_THAT(names, HasSubstr("tokenizer.ggml.pre: \"abacus\""));
  size_t at = names.find("known are ") + 10;
  int num_names = 0;
  for (size_t end; at < names.size(); at = end + 2, ++num_names) {
    end = std::min(names.find(", ", at), names.size());
    const auto pre = text::FindGgufPreTokenizer(names.substr(at, end - at));
    ASSERT_TRUE(pre.ok()) << pre.error().message;
    const auto chain = text::SplitByPatterns(pre->patterns, pre->spelled_patterns);
    ASSERT_TRUE(chain.ok()) << chain.error().message;
    text::Pieces pieces{.text = "Don't stop 12345, 東京 Straße!\r\n\n  x", .spans = {{0, 0}}, .starts_input = true};
    pieces.spans[0].end = pieces.text.size();
    for (const auto& step : chain->steps) ASSERT_TRUE(step->Apply(pieces).ok());
    EXPECT_GT(pieces.spans.size(), 2U) << names.substr(at, end - at);
  }
  EXPECT_GT(num_names, 80);
}

std::vector<std::string> Cut(const char* name, std::string text) {
  const auto pre = text::FindGgufPreTokenizer(name);
  const auto chain = text::SplitByPatterns(pre->patterns, pre->spelled_patterns);
  text::Pieces pieces{.text = std::move(text), .spans = {}, .starts_input = true};
  pieces.spans.push_back({0, pieces.text.size()});
  for (const auto& step : chain->steps) EXPECT_TRUE(step->Apply(pieces).ok());
  std::vector<std::string> parts;
  for (const text::Span span : pieces.spans) parts.emplace_back(pieces.At(span));
  return parts;
}

TEST(GgufTokenizer, NumbersAndCasesAreCutAsTheNameSays) {
  EXPECT_THAT(Cut("superbpe", "a b 1234567"), ElementsAre("a b ", "1", "234", "567"));
  EXPECT_THAT(Cut("afmoe", "1234567"), ElementsAre("1", "234", "567"));
  EXPECT_THAT(Cut("tiny_aya", "12345"), ElementsAre("12", "345"));
  EXPECT_THAT(Cut("tekken", "camelCase 12"), ElementsAre("camel", "Case", " ", "1", "2"));
  EXPECT_THAT(Cut("gpt-4o", "don'T 1234"), ElementsAre("don'T", " ", "123", "4"));
  EXPECT_THAT(Cut("kimi-k2", "ab東京cd"), ElementsAre("ab", "東京", "cd"));
  EXPECT_THAT(Cut("bloom", "one two, three"), ElementsAre("one", " two", ",", " three"));
  EXPECT_THAT(Cut("qwen35", "ก็ 12"), ElementsAre("ก็", " ", "1", "2"));
}

TEST(GgufTokenizer, RefusesKindsItDoesNotOffer) {
  for (const char* kind : {"bert", "t5", "rwkv", "none", ""}) {
    const auto tokenizer = Tokenizer::FromGguf({.model = kind, .tokens = {"a"}});
    ASSERT_FALSE(tokenizer.ok());
    EXPECT_EQ(tokenizer.error().code, ErrorCode::kUnimplemented);
    EXPECT_THAT(tokenizer.error().message, HasSubstr(std::string("tokenizer.ggml.model: \"") + kind + "\""));
    EXPECT_THAT(tokenizer.error().message, HasSubstr("gpt2 and llama"));
  }
}

TEST(GgufTokenizer, HostileVocabulariesAreErrorsThatNameTheKey) {
  GgufVocabulary vocabulary = ByteLevelVocabulary();
  vocabulary.tokens[1] = "a\xC3(";
  EXPECT_THAT(Refusal(vocabulary), HasSubstr("tokenizer.ggml.tokens[1]: is not UTF-8"));
  vocabulary.tokens[1] = "a";
  EXPECT_THAT(Refusal(vocabulary), HasSubstr("tokenizer.ggml.tokens[1]: \"a\" is token 0 already"));
  for (const char* merge : {"", "a", " ", "ab", "a "}) {
    vocabulary = ByteLevelVocabulary();
    vocabulary.merges[1] = merge;
    EXPECT_THAT(Refusal(vocabulary), HasSubstr("tokenizer.ggml.merges[1]: is not two tokens")) << merge;
  }
  vocabulary.merges[1] = "a x";
  EXPECT_THAT(Refusal(vocabulary), HasSubstr("tokenizer.ggml.merges[1]: \"x\" is not in the vocabulary"));
  vocabulary.token_types.pop_back();
  EXPECT_THAT(Refusal(vocabulary), HasSubstr("tokenizer.ggml.token_type: has 6 values for 7 tokens"));
  EXPECT_THAT(Refusal({.model = "gpt2"}), HasSubstr("tokenizer.ggml.tokens: there is no token"));

  GgufVocabulary scored = ScoredVocabulary();
  scored.scores.pop_back();
  EXPECT_THAT(Refusal(scored), HasSubstr("tokenizer.ggml.scores: has 9 values for 10 tokens"));
  scored.scores = {};
  EXPECT_THAT(Refusal(scored), HasSubstr("tokenizer.ggml.scores: is missing"));
  scored.scores.assign(10, std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(Refusal(scored), HasSubstr("tokenizer.ggml.scores[0]: is not a number"));
  scored.scores.assign(10, std::numeric_limits<double>::infinity());
  EXPECT_NE(BuildOrFail(scored), nullptr);
  const std::string endless(100'000, 'a');
  scored.tokens[9] = endless;
  scored.token_types[9] = 1;
  EXPECT_THAT(Refusal(scored), HasSubstr("too long"));
}

// Types that are not known, tokens without a text and lists that are too long are nothing to stumble over.
TEST(GgufTokenizer, TakesWhatIsOddButClear) {
  GgufVocabulary vocabulary = ByteLevelVocabulary();
  vocabulary.token_types = {1, 1, 1, 1, 1, 3, 99, 1};
  vocabulary.scores.assign(9, 0);
  vocabulary.tokens.back() = "";
  EXPECT_THAT(IdsOf(vocabulary, " abab"), ElementsAre(4, 3));
  vocabulary = {.model = "gpt2", .tokens = {"a", "b"}};  // bytes alone, cut by default
  EXPECT_THAT(IdsOf(vocabulary, "abc"), ElementsAre(0, 1));
}

}  // namespace
}  // namespace quire
