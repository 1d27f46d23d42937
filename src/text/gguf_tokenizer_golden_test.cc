// Tokenizers of GGUF vocabularies: against the ids of the models' own tokenizers, and against the tokenizer.json of the
// same model on its reference texts and on random ones.
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sstream>

#include "text/gguf_vocabulary_testing.h"
#include "text/utf8.h"

namespace quire {
namespace {

using Json = nlohmann::json;
using TokenIds = std::vector<int32_t>;

std::unique_ptr<Tokenizer> FromGgufOrFail(const test::OwnedVocabulary& vocabulary) {
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromGguf(vocabulary.value);
  if (!tokenizer.ok()) ADD_FAILURE() << tokenizer.error().message;
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

TokenIds EncodeOrFail(const Tokenizer& tokenizer, const std::string& text, bool add_special_tokens) {
  const Result<TokenIds> ids = tokenizer.Encode(text, add_special_tokens);
  EXPECT_TRUE(ids.ok()) << ids.error().message;
  return ids.ok() ? *ids : TokenIds();
}

class GgufVectors : public testing::TestWithParam<const char*> {};

TEST_P(GgufVectors, AgreeWithTheModelsOwnTokenizer) {
  const std::filesystem::path path =
      test::DataRoot() / "ggml-vocab" / ("ggml-vocab-" + std::string(GetParam()) + ".gguf.gz");
  QUIRE_SKIP_WITHOUT(path);
  const std::unique_ptr<Tokenizer> tokenizer = FromGgufOrFail(test::ReadGgufVocabulary(path));
  ASSERT_NE(tokenizer, nullptr);
  test::ExpectGgmlVectors(*tokenizer, GetParam());
}

INSTANTIATE_TEST_SUITE_P(, GgufVectors,
                         testing::Values("deepseek-coder", "deepseek-llm", "falcon", "gpt-2", "llama-spm", "mpt",
                                         "phi-3", "refact", "starcoder"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

struct SameModel {
  const char* tokenizer;  // directory of its tokenizer.json
  const char* gguf;       // its vocabulary: "gpt-2", "tokenizer.model" beside it; null: as a converter would write it
  const char* pre;        // as which tokenizer.ggml.pre
  const char* vectors;    // of the same model; null: none
  // tokenizer.json puts a space in front of the first text alone and if it has none; SentencePiece and GGUF always do.
  bool is_prefixed = false;
};

void PrintTo(const SameModel& model, std::ostream* out) { *out << model.tokenizer; }

class GgufTokenizerGolden : public testing::TestWithParam<SameModel> {
 protected:
  void SetUp() override {
    const SameModel& model = GetParam();
    const std::filesystem::path directory = test::DataRoot() / "tokenizers" / model.tokenizer;
    const std::filesystem::path path = directory / "tokenizer.json.gz";
    QUIRE_SKIP_WITHOUT(path);
    if (model.gguf == nullptr) {
      vocabulary_ = test::ConvertTokenizerJson(Json::parse(test::ReadMaybeGzip(path)), model.pre);
    } else if (std::filesystem::exists(directory / model.gguf)) {
      vocabulary_ = test::ConvertSentencePieceModel(directory / model.gguf);
    } else {
      const std::string name = "ggml-vocab-" + std::string(model.gguf) + ".gguf.gz";
      vocabulary_ = test::ReadGgufVocabulary(test::DataRoot() / "ggml-vocab" / name);
    }
    expected_ = test::LoadOrFail(path);
    ASSERT_NE(expected_, nullptr);
    // What goes around a text is the file's to say; here it is what tokenizer.json has.
    const TokenIds around = EncodeOrFail(*expected_, "", true);
    vocabulary_.value.add_bos = !around.empty();
    vocabulary_.value.add_eos = around.size() > 1;
    if (!around.empty()) vocabulary_.value.bos_id = around[0];
    if (around.size() > 1) vocabulary_.value.eos_id = around[1];
    actual_ = FromGgufOrFail(vocabulary_);
    ASSERT_NE(actual_, nullptr);
    for (int32_t id = 0; id < expected_->vocab_size(); ++id) {
      if (expected_->IsSpecial(id)) specials_.emplace_back(expected_->TokenText(id));
    }
  }

  void ExpectSame(const std::string& text) const {
    if (GetParam().is_prefixed && (HasSpecial(text) || text.starts_with(' ') || text.starts_with("▁"))) return;
    SCOPED_TRACE(Json(text).dump());
    const TokenIds ids = EncodeOrFail(*expected_, text, true);
    ASSERT_EQ(EncodeOrFail(*actual_, text, true), ids);
    for (const bool skip : {false, true}) ASSERT_EQ(actual_->Decode(ids, skip), expected_->Decode(ids, skip));
  }

  bool HasSpecial(const std::string& text) const {
    return std::ranges::any_of(specials_, [&](const std::string& token) { return text.find(token) != text.npos; });
  }

  std::string RandomText(std::mt19937& random) const {
    static const std::vector<std::string> kParts = {" ",
                                                    "  ",
                                                    "    ",
                                                    "\n",
                                                    "\r\n",
                                                    "\t",
                                                    "'s",
                                                    "'LL",
                                                    "'ve ",
                                                    "12",
                                                    "3456789",
                                                    "=====",
                                                    "aaaa",
                                                    "\u2581",
                                                    "\u00a0",
                                                    "The quick",
                                                    " brown",
                                                    "fox",
                                                    "\u00fcber",
                                                    "e\u0301",
                                                    "\u4e2d\u6587",
                                                    "\u3042",
                                                    "\U0001f600",
                                                    "()[]{}",
                                                    "<|",
                                                    "|>",
                                                    "http://x.y/z?q=1",
                                                    "\u0627\u0644",
                                                    "\u0e01\u0e33",
                                                    "\ud55c\uae00",
                                                    "camelCase",
                                                    "!!!",
                                                    "...",
                                                    "\u200d"};
    std::string text;
    for (auto count = random() % 12; count > 0; --count) {
      switch (random() % 8) {
        case 0:
          if (!GetParam().is_prefixed) text += specials_[random() % specials_.size()];
          break;
        case 1: {
          const auto c = static_cast<char32_t>(random() % (random() % 2 == 0 ? 0x3000 : 0x110000));
          if (c < 0xD800 || c > 0xDFFF) text::AppendUtf8(c, text);
          break;
        }
        case 2: {
          const std::string_view token = expected_->TokenText(static_cast<int32_t>(random() % 30000));
          text += token;
          break;
        }
        default:
          text += kParts[random() % kParts.size()];
      }
    }
    return text;
  }

  test::OwnedVocabulary vocabulary_;
  std::unique_ptr<Tokenizer> expected_, actual_;
  std::vector<std::string> specials_;
};

TEST_P(GgufTokenizerGolden, EqualsTheTokenizerJsonOfTheSameModel) {
  std::istringstream lines(
      test::ReadMaybeGzip(test::DataRoot() / "tokenizers" / GetParam().tokenizer / "golden.jsonl"));
  int num_texts = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string text = Json::parse(line)["text"];
    ExpectSame(text);
    ++num_texts;
  }
  EXPECT_GT(num_texts, 50);
  const unsigned seed = 20260301;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int i = 0; i < 500 && !HasFatalFailure(); ++i) ExpectSame(RandomText(random));
  if (GetParam().vectors != nullptr) test::ExpectGgmlVectors(*actual_, GetParam().vectors);
}

INSTANTIATE_TEST_SUITE_P(
    , GgufTokenizerGolden,
    testing::Values(
        SameModel{"gpt2", "gpt-2", nullptr, nullptr}, SameModel{"falcon", "falcon", nullptr, nullptr},
        SameModel{"gpt-neox-20b", "mpt", nullptr, nullptr}, SameModel{"llama-2", "llama-spm", nullptr, nullptr},
        SameModel{"phi-3-mini", "phi-3", nullptr, nullptr},
        SameModel{"mistral-v0.1", "tokenizer.model", nullptr, nullptr},
        SameModel{"mistral-v0.3", "tokenizer.model.v3", nullptr, nullptr, /*is_prefixed=*/true},
        SameModel{"llama-3", nullptr, "llama-bpe", "llama-bpe"}, SameModel{"qwen3", nullptr, "qwen2", "qwen2"},
        SameModel{"deepseek", nullptr, "deepseek-v3", nullptr}, SameModel{"phi-2", nullptr, "phi-2", nullptr},
        SameModel{"roberta-base", nullptr, "roberta-bpe", "roberta-bpe"}),
    [](const auto& info) {
      std::string name = info.param.tokenizer;
      std::erase_if(name, [](char c) { return c == '-' || c == '.'; });
      return name;
    });

}  // namespace
}  // namespace quire
