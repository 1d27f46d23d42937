#include "llm/fingerprint.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/env.h"
#include "base/env_testing.h"

namespace quire {
namespace {

class FingerprintTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Write("config.json", "{}");
    Write("tokenizer.json", "{}");
    Write("model-1.safetensors", std::string(100'000, 'a'));
    Write("model-2.safetensors", std::string(10, 'b'));
  }
  void Write(const std::string& name, const std::string& contents) const {
    ASSERT_TRUE(Env::Posix().WriteFile(JoinPath(directory_, name), contents).ok());
  }
  KvFingerprint Read(const std::string& layout = "rows bf16 16") const {
    Result<KvFingerprint> fingerprint = FingerprintModel({directory_, directory_, layout});
    EXPECT_TRUE(fingerprint.ok());
    return *fingerprint;
  }

  const TemporaryDirectory temporary_;
  const std::string directory_ = temporary_.path();
};

TEST_F(FingerprintTest, IsAFunctionOfTheContentAlone) {
  const KvFingerprint before = Read();
  Write("model-1.safetensors", std::string(100'000, 'a'));
  Write("README.md", "unrelated");
  EXPECT_EQ(Read(), before);
}

TEST_F(FingerprintTest, ChangesWithEveryByteThatMatters) {
  const KvFingerprint before = Read();
  EXPECT_NE(Read("rows bf16 32"), before);
  std::string weights(100'000, 'a');
  weights[54'321] = 'x';
  Write("model-1.safetensors", weights);
  EXPECT_NE(Read(), before) << "one byte of the weights";
  Write("model-1.safetensors", std::string(100'000, 'a'));
  Write("tokenizer.json", "{ }");
  EXPECT_NE(Read(), before);
  Write("tokenizer.json", "{}");
  Write("config.json", "{ }");
  EXPECT_NE(Read(), before);
}

TEST_F(FingerprintTest, NamesTheFileThatIsMissing) {
  std::filesystem::remove(JoinPath(directory_, "tokenizer.json"));
  const auto fingerprint = FingerprintModel({directory_, directory_, ""});
  ASSERT_FALSE(fingerprint.ok());
  EXPECT_NE(fingerprint.error().message.find("tokenizer.json"), std::string::npos);
}

}  // namespace
}  // namespace quire
