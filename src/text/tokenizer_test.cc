// Behaviour of the parts, on tokenizers small enough to read; random inputs against slow oracles.
#include "text/tokenizer.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>
#include <vector>

#include "base/env_testing.h"
#include "text/bpe_merges.h"
#include "text/regex.h"
#include "text/tokenizer_testing.h"

namespace quire {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<int32_t>;

json ByteVocabulary() {
  json vocab = json::object();
  for (int byte = 0; byte < 256; ++byte) vocab[fmt::format("<0x{:02X}>", byte)] = byte;
  return vocab;
}

// Letters, "▁" and a few merges, SentencePiece-style.
json SmallTokenizer() {
  json vocab = ByteVocabulary();
  int id = 256;
  for (const char* token : {"<unk>", "▁", "a", "b", "c", "ab", "▁a", "▁ab", "▁▁"}) vocab[token] = id++;
  return {{"added_tokens", json::array()},
          {"normalizer", {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"fuse_unk", true},
            {"byte_fallback", true},
            {"vocab", vocab},
            {"merges", {"a b", "▁ a", "▁ ab", "▁ ▁"}}}},
          {"decoder",
           {{"type", "Sequence"},
            {"decoders",
             {{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
              {{"type", "ByteFallback"}},
              {{"type", "Fuse"}}}}}}};
}

json AddedToken(int id, const char* content, json flags = json::object()) {
  json token = {{"id", id}, {"content", content}, {"special", true}, {"normalized", false}};
  token.update(flags);
  return token;
}

std::unique_ptr<Tokenizer> Make(const json& description) {
  auto tokenizer = Tokenizer::FromJson(description.dump());
  if (!tokenizer.ok()) ADD_FAILURE() << tokenizer.error().message;
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

Error LoadError(const std::string& text) {
  auto tokenizer = Tokenizer::FromJson(text);
  EXPECT_FALSE(tokenizer.ok());
  return tokenizer.ok() ? Error{} : tokenizer.error();
}

std::vector<std::string> Tokens(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<std::string> tokens;
  const Result<Ids> ids = tokenizer.Encode(text, true);
  EXPECT_TRUE(ids.ok()) << ids.error().message;
  if (!ids.ok()) return tokens;
  for (const int32_t id : *ids) tokens.emplace_back(tokenizer.TokenText(id));
  return tokens;
}

TEST(TokenizerTest, MergesLowestRankFirstAndFallsBackToBytes) {
  const auto tokenizer = Make(SmallTokenizer());
  EXPECT_THAT(Tokens(*tokenizer, "ab ab  a"), ElementsAre("ab", "▁ab", "▁", "▁a"));
  EXPECT_THAT(Tokens(*tokenizer, "aé"), ElementsAre("a", "<0xC3>", "<0xA9>"));
}

json Replacing(const char* from, const std::string& to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

TEST(TokenizerTest, ATextThatGrowsWithoutEndIsAnError) {
  json steps = json::array();
  for (int i = 0; i < 12; ++i) steps.push_back(Replacing("a", std::string(10, 'a')));
  for (const json& normalizer :
       {json{{"type", "Sequence"}, {"normalizers", steps}}, Replacing("a", std::string(9000, 'b')),
        json{{"type", "Prepend"}, {"prepend", std::string(9000, 'a')}}}) {
    json description = SmallTokenizer();
    description["normalizer"] = normalizer;
    const auto tokenizer = Make(description);
    ASSERT_NE(tokenizer, nullptr);
    const Result<Ids> ids = tokenizer->Encode("a", false);
    ASSERT_FALSE(ids.ok());
    EXPECT_THAT(ids.error().message, HasSubstr("bytes of a text"));
  }
}

TEST(TokenizerTest, ATokenThatGrowsWithoutEndIsDecodedAsFarAsMemoryAllows) {
  json steps = json::array();
  for (int i = 0; i < 40; ++i) steps.push_back(Replacing("a", "aaaaaaaaaaaa"));
  json description = SmallTokenizer();
  description["decoder"] = {{"type", "Sequence"}, {"decoders", steps}};
  const auto tokenizer = Make(description);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->Decode(Ids{258}, false), std::string(12 * 12 * 12 * 12 * 12, 'a'));
}

TEST(TokenizerTest, NamesTheOffsetOfInvalidUtf8) {
  const auto tokenizer = Make(SmallTokenizer());
  const Result<Ids> ids = tokenizer->Encode("abc\xC3(", true);
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(ids.error().message, HasSubstr("byte 3"));
}

TEST(TokenizerTest, AddedTokensObeyTheirFlags) {
  json description = SmallTokenizer();
  description["normalizer"] = nullptr;
  description["added_tokens"] = {AddedToken(265, "<l>", {{"lstrip", true}}), AddedToken(266, "<r>", {{"rstrip", true}}),
                                 AddedToken(267, "<w>", {{"single_word", true}}), AddedToken(268, "<w>a")};
  const auto tokenizer = Make(description);
  EXPECT_THAT(Tokens(*tokenizer, "a \t<l>b"), ElementsAre("a", "<l>", "b"));
  EXPECT_THAT(Tokens(*tokenizer, "a<r> \n b"), ElementsAre("a", "<r>", "b"));
  EXPECT_THAT(Tokens(*tokenizer, "<w>ab"), ElementsAre("<w>a", "b")) << "the longest wins";
  EXPECT_THAT(Tokens(*tokenizer, "<w>"), ElementsAre("<w>"));
  EXPECT_EQ(Tokens(*tokenizer, "b<w>").back(), "<0x3E>") << "a word character touches it";
  EXPECT_TRUE(tokenizer->IsSpecial(265));
  EXPECT_EQ(tokenizer->Decode(Ids{258, 265, 259}, true), "ab");
  EXPECT_EQ(tokenizer->Decode(Ids{258, 265, 259}, false), "a<l>b");
  EXPECT_EQ(tokenizer->vocab_size(), 269);
}

TEST(TokenizerTest, TemplatesAddTokensOnlyWhenAsked) {
  json description = SmallTokenizer();
  description["post_processor"] = {{"type", "TemplateProcessing"},
                                   {"single", {{{"SpecialToken", {{"id", "x"}}}}, {{"Sequence", {{"id", "A"}}}}}},
                                   {"special_tokens", {{"x", {{"id", "x"}, {"ids", {7, 8}}}}}}};
  const auto tokenizer = Make(description);
  EXPECT_THAT(*tokenizer->Encode("a", true), ElementsAre(7, 8, 258));
  EXPECT_THAT(*tokenizer->Encode("a", false), ElementsAre(258));
}

TEST(TokenizerTest, TemplatesThatMultiplyATextAreRefused) {
  json description = SmallTokenizer();
  const json sequence = {{"Sequence", {{"id", "A"}}}}, special = {{"SpecialToken", {{"id", "x"}}}};
  const auto processor = [&](const json& pieces, size_t num_ids) {
    return json{{"type", "TemplateProcessing"},
                {"single", pieces},
                {"special_tokens", {{"x", {{"id", "x"}, {"ids", std::vector<int>(num_ids, 7)}}}}}};
  };
  description["post_processor"] = processor({sequence, special, sequence}, 1);
  EXPECT_THAT(*Make(description)->Encode("a", true), ElementsAre(258, 7, 258));
  const json twice = description["post_processor"];
  description["post_processor"] = {{"type", "Sequence"}, {"processors", {twice, twice, twice, twice, twice}}};
  EXPECT_THAT(LoadError(description.dump()).message, HasSubstr("repeat the text over 16 times"));
  description["post_processor"] = processor(std::vector<json>(100, special), 100);
  EXPECT_THAT(LoadError(description.dump()).message, HasSubstr("over 4096 tokens"));
}

TEST(TokenizerTest, StreamHoldsBackBytesUntilTheirRunEnds) {
  const auto tokenizer = Make(SmallTokenizer());
  Detokenizer detokenizer(*tokenizer, true);
  std::string text;
  detokenizer.Append(0xC3, text);
  EXPECT_EQ(text, "");
  detokenizer.Append(0xA9, text);
  detokenizer.Append(258, text);
  EXPECT_EQ(text, "éa");
  detokenizer.Append(0xC3, text);
  detokenizer.Flush(text);
  EXPECT_EQ(text, "éa\xEF\xBF\xBD");
}

TEST(TokenizerTest, HeldBackPromptTextDoesNotLeakIntoTheOutput) {
  const auto tokenizer = Make(SmallTokenizer());
  const Ids prompt = {258, '\n'};
  Detokenizer detokenizer(*tokenizer, true, prompt);
  std::string text;
  detokenizer.Append(259, text);
  EXPECT_EQ(text, "b");
}

TEST(TokenizerTest, ErrorsNameTheField) {
  EXPECT_THAT(LoadError("{").message, HasSubstr("not valid JSON"));
  EXPECT_THAT(LoadError("{}").message, HasSubstr("model: is missing"));
  json description = SmallTokenizer();
  description["model"]["merges"][2] = "a z";
  EXPECT_THAT(LoadError(description.dump()).message, HasSubstr("model.merges[2]"));
  description = SmallTokenizer();
  description["model"]["vocab"]["a"] = -4;
  EXPECT_THAT(LoadError(description.dump()).message, HasSubstr("model.vocab"));
  description = SmallTokenizer();
  description["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "("}}}, {"behavior", "Isolated"}};
  EXPECT_THAT(LoadError(description.dump()).message, HasSubstr("pre_tokenizer.pattern.Regex"));
}

TEST(TokenizerTest, ErrorsNameWhatIsNotSupported) {
  for (const char* type : {"Unigram", "WordPiece"}) {
    json description = SmallTokenizer();
    description["model"]["type"] = type;
    const Error error = LoadError(description.dump());
    EXPECT_EQ(error.code, ErrorCode::kUnimplemented);
    EXPECT_THAT(error.message, HasSubstr(type));
  }
  json description = SmallTokenizer();
  description["normalizer"] = {{"type", "Precompiled"}};
  EXPECT_THAT(LoadError(description.dump()).message, HasSubstr("Precompiled"));
}

TEST(TokenizerTest, MissingFileSaysWhatIsExpected) {
  const TemporaryDirectory directory;
  std::ofstream(directory.path() + "/tokenizer.model") << "x";
  const auto tokenizer = Tokenizer::Load(directory.path());
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_EQ(tokenizer.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(tokenizer.error().message, HasSubstr("tokenizer.json"));
  EXPECT_THAT(tokenizer.error().message, HasSubstr("convert"));
}

// The definition of byte-pair encoding, one merge at a time.
Ids MergeSlowly(const text::BpeMerges& merges, Ids symbols) {
  for (;;) {
    const text::BpeMerges::Rule* best = nullptr;
    size_t where = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto* rule = merges.Find(symbols[i], symbols[i + 1]);
      if (rule != nullptr && (best == nullptr || rule->rank < best->rank)) best = rule, where = i;
    }
    if (best == nullptr) return symbols;
    symbols[where] = best->merged;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
}

TEST(BpeMergesTest, EqualsOneMergeAtATime) {
  const unsigned seed = 5;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    const int32_t num_symbols = 3, num_rules = 12;
    text::BpeMerges merges(static_cast<size_t>(num_rules));
    for (int32_t rank = 0; rank < num_rules; ++rank) {
      const auto known = static_cast<unsigned>(num_symbols + rank);
      const auto left = static_cast<int32_t>(random() % known), right = static_cast<int32_t>(random() % known);
      if (merges.Find(left, right) == nullptr) merges.Add(left, right, {.rank = rank, .merged = num_symbols + rank});
    }
    Ids symbols(random() % 40);
    for (int32_t& symbol : symbols) symbol = static_cast<int32_t>(random() % num_symbols);
    Ids merged = symbols;
    merges.Apply(merged, 0);
    ASSERT_EQ(merged, MergeSlowly(merges, symbols));
  }
}

// Words are cut at "▁" and cached; the reference sees one word. A rule across the cut forbids cutting.
TEST(TokenizerTest, CutsAtMetaspaceOnlyWhereNoMergeCrosses) {
  json description = SmallTokenizer();
  description["model"]["vocab"]["a▁"] = 265;
  description["model"]["merges"].insert(description["model"]["merges"].begin(), "a ▁");
  const auto tokenizer = Make(description);
  EXPECT_THAT(Tokens(*tokenizer, "a a"), ElementsAre("a▁", "a"));
}

TEST(TokenizerTest, NeighboursOfAVanishedCharacterMerge) {
  json description = SmallTokenizer();
  description["model"].erase("unk_token");
  EXPECT_THAT(Tokens(*Make(description), "a z b"), ElementsAre("a", "▁", "<0x7A>", "▁", "b"));
  description["model"]["byte_fallback"] = false;
  EXPECT_THAT(Tokens(*Make(description), "a z b"), ElementsAre("a", "▁▁", "b"));
  description["model"]["byte_fallback"] = true;
  description["model"]["vocab"].erase("<0x7A>");
  EXPECT_THAT(Tokens(*Make(description), "a z b"), ElementsAre("a", "▁▁", "b"));
}

TEST(TokenizerTest, LongWordsTakeNoQuadraticTime) {
  const auto tokenizer = Make(SmallTokenizer());
  std::string text;
  while (text.size() < 1'000'000) text += "abcab";
  const Result<Ids> ids = tokenizer->Encode(text, true);
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(ids->size(), text.size() / 5 * 3);
}

std::vector<std::string> Matches(const char* pattern, std::string_view subject) {
  auto regex = text::Regex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.error().message;
  std::vector<std::string> matches;
  if (!regex.ok()) return matches;
  text::RegexScanner scanner(*regex);
  scanner.Reset(subject);
  while (scanner.Next()) matches.emplace_back(subject.substr(scanner.begin(), scanner.end() - scanner.begin()));
  EXPECT_TRUE(scanner.status().ok());
  return matches;
}

TEST(RegexTest, ClassesAreThoseOfTheReferenceEngine) {
  EXPECT_THAT(Matches(R"(\s)", "\u180e\u3000"), ElementsAre("\u3000"));
  EXPECT_THAT(Matches(R"([^\s]+)", "\u180e x"), ElementsAre("\u180e", "x"));
  EXPECT_THAT(Matches(R"(\w+)", "e\u0301-\u2460"), ElementsAre("e\u0301"));
  EXPECT_THAT(Matches(R"([[a-c][0-9]]+)", "a1z2"), ElementsAre("a1", "2"));
  EXPECT_THAT(Matches(R"(\h+)", "xfF0 "), ElementsAre("fF0"));
  EXPECT_THAT(Matches(R"([\u3040-\u30ff]+)", "aあい"), ElementsAre("あい"));
}

TEST(RegexTest, RunawayMatchIsAnErrorNotAHang) {
  auto regex = text::Regex::Compile(R"((a+)+$)");
  ASSERT_TRUE(regex.ok());
  const std::string subject = std::string(60, 'a') + "!";
  text::RegexScanner scanner(*regex);
  scanner.Reset(subject);
  while (scanner.Next()) continue;
  EXPECT_FALSE(scanner.status().ok());
}

TEST(TokenizerTest, MutatedFilesNeverCrash) {
  const unsigned seed = 11;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  json description = SmallTokenizer();
  description["added_tokens"] = {AddedToken(265, "<s>")};
  description["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}};
  const std::string original = description.dump();
  int num_loaded = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string text = original;
    if (round % 3 == 0) text.resize(random() % text.size());
    for (size_t i = random() % 4; i > 0 && !text.empty(); --i) {
      const size_t at = random() % text.size();
      if (random() % 2 == 0) {
        text[at] = static_cast<char>(random() % 128);
      } else {
        text.erase(at, random() % 8);
      }
    }
    const auto tokenizer = Tokenizer::FromJson(text);
    if (!tokenizer.ok()) {
      EXPECT_FALSE(tokenizer.error().message.empty());
      continue;
    }
    ++num_loaded;
    if (const Result<Ids> ids = (*tokenizer)->Encode("ab <s>a\n é", true); ids.ok()) (*tokenizer)->Decode(*ids, false);
  }
  EXPECT_GT(num_loaded, 0);
}

std::string RandomText(std::mt19937& random) {
  std::string text;
  for (size_t i = random() % 30; i > 0; --i) {
    constexpr char32_t kEnds[] = {0x80, 0x80, 0x800, 0x3000, 0xD800, 0x1FFFF};
    const char32_t end = kEnds[random() % std::size(kEnds)];
    const auto c = static_cast<char32_t>(random() % end);
    char bytes[5] = {};
    if (c < 0x80) {
      bytes[0] = static_cast<char>(c);
    } else if (c < 0x800) {
      bytes[0] = static_cast<char>(0xC0 | c >> 6), bytes[1] = static_cast<char>(0x80 | (c & 0x3F));
    } else if (c < 0xD800 || (c >= 0xE000 && c < 0x10000)) {
      bytes[0] = static_cast<char>(0xE0 | c >> 12), bytes[1] = static_cast<char>(0x80 | (c >> 6 & 0x3F));
      bytes[2] = static_cast<char>(0x80 | (c & 0x3F));
    }
    text += bytes;
  }
  return text;
}

TEST(ByteLevelTokenizers, RoundTripAnyText) {
  const std::filesystem::path path = test::DataRoot() / "tokenizers/llama-3/tokenizer.json.gz";
  QUIRE_SKIP_WITHOUT(path);
  const auto tokenizer = test::LoadOrFail(path);
  ASSERT_NE(tokenizer, nullptr);
  const unsigned seed = 3;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 1000; ++round) {
    const std::string text = RandomText(random);
    const Result<Ids> ids = tokenizer->Encode(text, false);
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    ASSERT_EQ(tokenizer->Decode(*ids, false), text);
  }
}

TEST(TokenizerTest, ManyThreadsShareOneTokenizer) {
  const auto tokenizer = Make(SmallTokenizer());
  std::vector<std::jthread> threads;
  std::vector<int> num_wrong(4, 0);
  for (size_t t = 0; t < num_wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int round = 0; round < 500; ++round) {
        std::string text;
        for (int i = 0; i < 12; ++i) text += "abc "[random() % 4];
        const Result<Ids> ids = tokenizer->Encode(text, false);
        if (!ids.ok() || tokenizer->Decode(*ids, false) != text) ++num_wrong[t];
      }
    });
  }
  threads.clear();
  EXPECT_THAT(num_wrong, testing::Each(0));
}

}  // namespace
}  // namespace quire
