// Shared by the tokenizer tests: where the reference data lies, and tokenizers from it.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace quire::test {

inline std::filesystem::path DataRoot() {
  const char* from_environment = std::getenv("QUIRE_TEST_DATA");
  return from_environment != nullptr ? std::filesystem::path(from_environment)
                                     : std::filesystem::path(QUIRE_SOURCE_DIR "/../shared/data");
}

#define QUIRE_SKIP_WITHOUT(path) \
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "test data absent: " << (path).string()

// The text of a file, unpacked if it is gzip's.
inline std::string ReadMaybeGzip(const std::filesystem::path& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  EXPECT_NE(file, nullptr) << path;
  if (file == nullptr) return {};
  std::string content, buffer(1 << 20, '\0');
  for (int count; (count = gzread(file, buffer.data(), static_cast<unsigned>(buffer.size()))) > 0;) {
    content.append(buffer, 0, static_cast<size_t>(count));
  }
  gzclose(file);
  return content;
}

inline std::unique_ptr<Tokenizer> LoadOrFail(const std::filesystem::path& tokenizer_json) {
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromJson(ReadMaybeGzip(tokenizer_json));
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer_json << ": " << tokenizer.error().message;
    return nullptr;
  }
  return *std::move(tokenizer);
}

// Checks the 46 texts of `vectors` ("gpt-2"), with the ids of the models' own tokenizers.
inline void ExpectGgmlVectors(const Tokenizer& tokenizer, const std::string& vectors) {
  const std::string stem = "ggml-vocab/ggml-vocab-" + vectors + ".gguf";
  const std::string texts = ReadMaybeGzip(DataRoot() / (stem + ".inp"));
  std::istringstream lines(ReadMaybeGzip(DataRoot() / (stem + ".out")));
  constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";
  size_t at = 0;
  int num_texts = 0;
  for (size_t end; (end = texts.find(kSeparator, at)) != std::string::npos; at = end + kSeparator.size()) {
    const std::string text = texts.substr(at, end - at);
    std::string line;
    ASSERT_TRUE(std::getline(lines, line));
    std::istringstream numbers(line);
    const std::vector<int32_t> expected{std::istream_iterator<int32_t>(numbers), std::istream_iterator<int32_t>()};
    const Result<std::vector<int32_t>> ids = tokenizer.Encode(text, false);
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    EXPECT_EQ(*ids, expected) << text;
    ++num_texts;
  }
  EXPECT_EQ(num_texts, 46);
}

}  // namespace quire::test
