// Shared by the tokenizer tests: where the reference data lies, and tokenizers from it.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

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

}  // namespace quire::test
