// Every tokenizer against the ids and texts that Hugging Face `tokenizers` gives for the same files.
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <vector>

#include "text/tokenizer_testing.h"

namespace quire {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

struct Golden {
  const char* name;
  const char* tokenizer;
  const char* cases;
};

void PrintTo(const Golden& golden, std::ostream* out) { *out << golden.name; }

class TokenizerGolden : public testing::TestWithParam<Golden> {
 protected:
  void SetUp() override {
    const std::filesystem::path path = test::DataRoot() / GetParam().tokenizer;
    QUIRE_SKIP_WITHOUT(path);
    // Kept for the other tests: loading is most of their time.
    static std::map<std::string, std::unique_ptr<Tokenizer>> loaded;
    std::unique_ptr<Tokenizer>& tokenizer = loaded[path];
    if (!tokenizer) tokenizer = test::LoadOrFail(path);
    ASSERT_NE(tokenizer, nullptr);
    tokenizer_ = tokenizer.get();
  }

  std::vector<json> Cases() const {
    std::vector<json> cases;
    std::istringstream lines(test::ReadMaybeGzip(test::DataRoot() / GetParam().cases));
    for (std::string line; std::getline(lines, line);) {
      if (!line.empty()) cases.push_back(json::parse(line));
    }
    return cases;
  }

  Ids Encode(const std::string& text, bool add_special_tokens) const {
    Result<Ids> ids = tokenizer_->Encode(text, add_special_tokens);
    EXPECT_TRUE(ids.ok()) << ids.error().message;
    return ids.ok() ? *ids : Ids();
  }

  std::string Stream(const Ids& ids, bool skip_special_tokens, bool checks_pieces = false) const {
    Detokenizer detokenizer(*tokenizer_, skip_special_tokens);
    std::string all;
    for (size_t i = 0; i <= ids.size(); ++i) {
      std::string piece;
      i < ids.size() ? detokenizer.Append(ids[i], piece) : detokenizer.Flush(piece);
      // dump() throws for half a character.
      if (checks_pieces) {
        EXPECT_NO_THROW((void)json(piece).dump()) << "half a character in a piece";
      }
      all += piece;
    }
    return all;
  }

  const Tokenizer* tokenizer_ = nullptr;
};

TEST_P(TokenizerGolden, EncodesAndDecodesLikeTheReference) {
  const std::vector<json> cases = Cases();
  ASSERT_GT(cases.size(), 10U);
  for (const json& row : cases) {
    const std::string text = row["text"];
    SCOPED_TRACE(row["text"].dump());
    const Ids ids = row["ids"], with_special = row["ids_with_special"];
    EXPECT_EQ(Encode(text, false), ids);
    EXPECT_EQ(Encode(text, true), with_special);
    // The second time from the word cache.
    EXPECT_EQ(Encode(text, true), with_special);
    EXPECT_EQ(tokenizer_->Decode(ids, false), row["decoded"].get<std::string>());
    EXPECT_EQ(tokenizer_->Decode(ids, true), row["decoded_skip_special"].get<std::string>());
    EXPECT_EQ(Stream(ids, true), row["decoded_skip_special"].get<std::string>());
  }
}

TEST_P(TokenizerGolden, StreamsAnyIdsToTheirDecodedText) {
  const unsigned seed = 20240917;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const int32_t size = tokenizer_->vocab_size();
  Ids byte_tokens, specials;
  for (int32_t id = 0; id < size; ++id) {
    if (tokenizer_->TokenText(id).starts_with("<0x")) byte_tokens.push_back(id);
    if (tokenizer_->IsSpecial(id)) specials.push_back(id);
  }
  for (int round = 0; round < 200; ++round) {
    Ids ids(random() % 24);
    for (int32_t& id : ids) {
      switch (random() % 8) {
        case 0:
          id = specials.empty() ? 0 : specials[random() % specials.size()];
          break;
        case 1:
          id = static_cast<int32_t>(random());
          break;
        case 2:
        case 3:
          id = byte_tokens.empty() ? static_cast<int32_t>(random() % 256) : byte_tokens[random() % byte_tokens.size()];
          break;
        default:
          id = static_cast<int32_t>(random() % static_cast<unsigned>(size));
      }
    }
    SCOPED_TRACE(testing::PrintToString(ids));
    for (const bool skip : {false, true}) {
      ASSERT_EQ(Stream(ids, skip, /*checks_pieces=*/true), tokenizer_->Decode(ids, skip));
    }
  }
}

// What a prompt leaves open must not leak into the text of the generated tokens.
TEST_P(TokenizerGolden, ContinuesAPromptWithItsNewTextAlone) {
  for (const json& row : Cases()) {
    const Ids ids = row["ids_with_special"];
    const std::string whole = tokenizer_->Decode(ids, true);
    for (size_t cut = 0; cut <= ids.size(); cut += 1 + ids.size() / 7) {
      const std::span<const int32_t> prompt = std::span(ids).first(cut);
      const std::string before = tokenizer_->Decode(prompt, true);
      if (before.find("\xEF\xBF\xBD") != std::string::npos || !whole.starts_with(before)) continue;
      Detokenizer detokenizer(*tokenizer_, true, prompt);
      std::string after;
      for (size_t i = cut; i < ids.size(); ++i) detokenizer.Append(ids[i], after);
      detokenizer.Flush(after);
      EXPECT_EQ(before + after, whole) << "cut at " << cut << " of " << row["text"].dump();
    }
  }
}

TEST_P(TokenizerGolden, FindsTheIdOfEveryTokenText) {
  std::set<std::string_view> seen;
  for (int32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    const std::string_view text = tokenizer_->TokenText(id);
    if (text.empty() || !seen.insert(text).second) continue;
    ASSERT_EQ(tokenizer_->TokenId(text), id) << text;
  }
  EXPECT_TRUE(tokenizer_->TokenText(-1).empty());
  EXPECT_TRUE(tokenizer_->TokenText(tokenizer_->vocab_size()).empty());
}

#define SHARED(name) "tokenizers/" name "/tokenizer.json.gz", "tokenizers/" name "/golden.jsonl"
INSTANTIATE_TEST_SUITE_P(
    , TokenizerGolden,
    testing::Values(Golden{"gpt2", SHARED("gpt2")},
                    Golden{"gpt2_original", "tokenizers/gpt2/tokenizer.original.json.gz",
                           "tokenizers/gpt2/golden.jsonl"},
                    Golden{"llama_2", SHARED("llama-2")}, Golden{"llama_3", SHARED("llama-3")},
                    Golden{"qwen2_5", SHARED("qwen2.5")}, Golden{"qwen3", SHARED("qwen3")},
                    Golden{"mistral_v0_1", SHARED("mistral-v0.1")}, Golden{"mistral_v0_3", SHARED("mistral-v0.3")},
                    Golden{"roberta_base", SHARED("roberta-base")}, Golden{"phi_2", SHARED("phi-2")},
                    Golden{"phi_3_mini", SHARED("phi-3-mini")}, Golden{"falcon", SHARED("falcon")},
                    Golden{"deepseek", SHARED("deepseek")}, Golden{"gpt_neox_20b", SHARED("gpt-neox-20b")},
                    Golden{"stories260K", "models/stories260K/tokenizer.json", "models/stories260K/golden.jsonl"}),
    [](const auto& info) { return info.param.name; });
#undef SHARED

// Encodings that another project took from the real model's tokenizer.
TEST(MistralEncodings, AgreeWithAnIndependentSource) {
  const std::filesystem::path directory = test::DataRoot() / "tokenizers/mistral-v0.3";
  QUIRE_SKIP_WITHOUT(directory);
  const std::unique_ptr<Tokenizer> tokenizer = test::LoadOrFail(directory / "tokenizer.json.gz");
  ASSERT_NE(tokenizer, nullptr);
  const json all = json::parse(test::ReadMaybeGzip(directory / "encodings.vllm.cpp.json"));
  ASSERT_GT(all["entries"].size(), 40U);
  for (const json& entry : all["entries"]) {
    SCOPED_TRACE(entry["text"].dump());
    const Ids with_special = entry["ids_special"];
    const std::string text = entry["text"];
    EXPECT_EQ(*tokenizer->Encode(text, false), entry["ids"].get<Ids>());
    EXPECT_EQ(*tokenizer->Encode(text, true), with_special);
  }
}

struct GgmlVocab {
  const char* tokenizer;
  const char* vocab;
};

void PrintTo(const GgmlVocab& vocab, std::ostream* out) { *out << vocab.vocab; }

class GgmlGolden : public testing::TestWithParam<GgmlVocab> {};

// 46 texts with the ids of the models' own tokenizers.
TEST_P(GgmlGolden, AgreesWithTheModelsOwnTokenizer) {
  const std::filesystem::path path = test::DataRoot() / "tokenizers" / GetParam().tokenizer / "tokenizer.json.gz";
  QUIRE_SKIP_WITHOUT(path);
  const std::unique_ptr<Tokenizer> tokenizer = test::LoadOrFail(path);
  ASSERT_NE(tokenizer, nullptr);
  test::ExpectGgmlVectors(*tokenizer, GetParam().vocab);
}

INSTANTIATE_TEST_SUITE_P(, GgmlGolden,
                         testing::Values(GgmlVocab{"gpt2", "gpt-2"}, GgmlVocab{"roberta-base", "roberta-bpe"},
                                         GgmlVocab{"phi-3-mini", "phi-3"}, GgmlVocab{"falcon", "falcon"},
                                         GgmlVocab{"llama-2", "llama-spm"}, GgmlVocab{"qwen2.5", "qwen2"},
                                         GgmlVocab{"qwen3", "qwen2"}, GgmlVocab{"llama-3", "llama-bpe"},
                                         GgmlVocab{"gpt-neox-20b", "mpt"}));

}  // namespace
}  // namespace quire
