// GGUF files, good ones and such that lie: whatever a head says, opening gives an error or what lies within the file.
#include "weights/gguf_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "weights/gguf_testing.h"

namespace quire {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::MemoryFile;

class GgufFileTest : public ::testing::Test {
 protected:
  Result<GgufFile> Open(const std::string& bytes) {
    file_.Write(bytes);
    return GgufFile::Open(file_.path());
  }
  std::string OpenError(const std::string& bytes) {
    const Result<GgufFile> file = Open(bytes);
    EXPECT_FALSE(file.ok());
    if (file.ok()) return "";
    EXPECT_THAT(file.error().message, HasSubstr(file_.path()));
    return file.error().message;
  }

  MemoryFile file_;
};

GgufBuilder Small() {
  GgufBuilder file;
  file.AddString("general.architecture", "llama")
      .AddUint("llama.block_count", 2)
      .AddFloat("llama.rope.freq_base", 5e5F);
  file.AddBool("general.tied", true)
      .Add("tiny", GgufType::kInt8, "\xFE")
      .Add("huge", GgufType::kUint64, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF");
  file.AddStrings("tokens", {"<s>", "", "ab"})
      .AddArray("types", GgufType::kInt16, 2, std::string("\x01\x00\xFF\xFF", 4));
  file.AddArray("scores", GgufType::kFloat32, 1, GgufBuilder::Bytes(-1.5F));
  file.AddArray("flags", GgufType::kBool, 2, std::string("\x00\x01", 2));
  // An array of arrays: [[7], []].
  file.AddArray("nested", GgufType::kArray, 2,
                GgufBuilder::Bytes(GgufType::kUint8) + GgufBuilder::Bytes<uint64_t>(1) + "\x07" +
                    GgufBuilder::Bytes(GgufType::kString) + GgufBuilder::Bytes<uint64_t>(0));
  file.AddTensor("blk.0.w", {2, 64}, 2, std::string(72, 'q'));
  file.AddTensor("norm", {3}, 0, std::string(12, 'f'))
      .AddTensor("scalar", {}, 1, "hh")
      .AddTensor("none", {0, 32}, 8, "");
  file.AddTensor("ids", {2}, 26, std::string(8, 'i'));
  return file;
}

TEST_F(GgufFileTest, ReadsMetadataByKeyAndType) {
  const auto file = Open(Small().Build());
  ASSERT_TRUE(file.ok()) << file.error().message;
  const GgufMetadata& metadata = file->metadata();
  EXPECT_EQ(*metadata.String("general.architecture"), "llama");
  EXPECT_EQ(*metadata.Int("llama.block_count"), 2);
  EXPECT_EQ(*metadata.Int("tiny"), -2);
  EXPECT_EQ(*metadata.Float("llama.rope.freq_base"), 5e5);
  EXPECT_EQ(*metadata.Float("tiny"), -2);
  EXPECT_TRUE(*metadata.Bool("general.tied"));
  EXPECT_THAT(*metadata.Strings("tokens"), ElementsAre("<s>", "", "ab"));
  EXPECT_THAT(*metadata.Ints("types"), ElementsAre(1, -1));
  EXPECT_THAT(*metadata.Floats("scores"), ElementsAre(-1.5));
  EXPECT_THAT(*metadata.Bools("flags"), ElementsAre(false, true));
  EXPECT_EQ(metadata.TypeText("tokens"), "string[3]");
  EXPECT_EQ(metadata.ArrayLength("nested"), 2U);
  EXPECT_EQ(*metadata.IntOr("absent", 7), 7);
}

TEST_F(GgufFileTest, LookupsNameTheKey) {
  const auto file = Open(Small().Build());
  ASSERT_TRUE(file.ok());
  const GgufMetadata& metadata = file->metadata();
  EXPECT_EQ(metadata.Int("absent").error().code, ErrorCode::kNotFound);
  EXPECT_THAT(metadata.Int("tokens").error().message, AllOf(HasSubstr("\"tokens\""), HasSubstr("string[3]")));
  EXPECT_THAT(metadata.Int("huge").error().message, HasSubstr("63 bits"));
  EXPECT_THAT(metadata.Int("llama.block_count", 3, 9).error().message, HasSubstr("is 2: must be in [3, 9]"));
  EXPECT_FALSE(metadata.Int("general.tied").ok());
  EXPECT_FALSE(metadata.String("llama.block_count").ok());
  EXPECT_FALSE(metadata.Strings("types").ok());
  EXPECT_FALSE(metadata.Ints("scores").ok());
  EXPECT_FALSE(metadata.Ints("nested").ok());
  EXPECT_FALSE(metadata.Bools("types").ok());
  EXPECT_FALSE(metadata.Floats("flags").ok());
}

TEST_F(GgufFileTest, FindsTensorsWithTheSlowestDimensionFirst) {
  for (const uint64_t alignment : {32, 8, 1, 4096}) {
    GgufBuilder builder;
    builder.alignment = alignment;
    builder.version = alignment == 8 ? 2 : 3;
    builder.AddTensor("a", {2, 64}, 2, std::string(72, 'q')).AddTensor("b", {3}, 0, std::string(12, 'f'));
    const auto file = Open(builder.Build());
    ASSERT_TRUE(file.ok()) << file.error().message;
    const GgufTensor& b = file->tensors().at("b");
    EXPECT_THAT(file->tensors().at("a").shape, ElementsAre(2, 64));
    EXPECT_EQ(file->tensors().at("a").type->name, "Q4_0");
    EXPECT_EQ(b.bytes, 12U);
    std::byte last{};
    ASSERT_TRUE(file->file().Read(b.offset + 11, {&last, 1}).ok());
    EXPECT_EQ(last, std::byte{'f'});
  }
}

TEST_F(GgufFileTest, EveryTruncationIsAnError) {
  const std::string whole = Small().Build();
  for (size_t length = 0; length < whole.size(); ++length) OpenError(whole.substr(0, length));
  EXPECT_THAT(OpenError(whole.substr(0, whole.size() - 1)), AllOf(HasSubstr("\"ids\""), HasSubstr("truncated")));
}

TEST_F(GgufFileTest, NamesWhatIsWrong) {
  EXPECT_THAT(OpenError("PK\x03\x04 something"), HasSubstr("PyTorch"));
  GgufBuilder old;
  old.version = 1;
  EXPECT_THAT(OpenError(old.Build()), HasSubstr("version 1"));
  old.version = 0x03000000;
  EXPECT_THAT(OpenError(old.Build()), HasSubstr("big-endian"));
  EXPECT_THAT(OpenError(Small().AddBool("tiny", true).Build()), AllOf(HasSubstr("\"tiny\""), HasSubstr("twice")));
  EXPECT_THAT(OpenError(GgufBuilder().Add("k", static_cast<GgufType>(13), "").Build()), HasSubstr("\"k\""));
  EXPECT_THAT(OpenError(GgufBuilder().AddArray("k", GgufType::kUint64, ~uint64_t{0} / 4, "").Build()),
              AllOf(HasSubstr("\"k\""), HasSubstr("truncated")));
  EXPECT_THAT(OpenError(GgufBuilder().AddArray("k", GgufType::kString, 1 << 20, "").Build()), HasSubstr("\"k\""));
  EXPECT_THAT(OpenError(GgufBuilder().AddUint("general.alignment", 24).Build()), HasSubstr("power of two"));
  std::string deep;
  for (int i = 0; i < 9; ++i) deep += GgufBuilder::Bytes(GgufType::kArray) + GgufBuilder::Bytes<uint64_t>(1);
  EXPECT_THAT(OpenError(GgufBuilder().Add("k", GgufType::kArray, deep).Build()), HasSubstr("deep"));
}

TEST_F(GgufFileTest, NamesTheTensorThatIsWrong) {
  const auto error = [&](const std::vector<int64_t>& shape, uint32_t type, const std::string& data) {
    const std::string message = OpenError(GgufBuilder().AddTensor("w", shape, type, data).Build());
    EXPECT_THAT(message, HasSubstr("\"w\""));
    return message;
  };
  EXPECT_THAT(error({1, 1, 1, 1, 1}, 0, "ffff"), HasSubstr("5 dimensions"));
  EXPECT_THAT(error({-1}, 0, "ffff"), HasSubstr("dimension"));
  EXPECT_THAT(error({4, 48}, 2, std::string(108, 'q')), HasSubstr("whole blocks of Q4_0"));
  EXPECT_THAT(error({INT64_MAX / 2, 32}, 2, ""), HasSubstr("too large"));
  EXPECT_THAT(error({0, INT64_MAX, 256}, 35, ""), HasSubstr("too large"));
  EXPECT_THAT(error({8}, 0, "ffff"), HasSubstr("beyond the 4 bytes"));
  EXPECT_THAT(error({8}, 1000, "ffff"), HasSubstr("1000"));
  EXPECT_THAT(error({8}, 31, "ffff"), HasSubstr("Q4_0_4_4"));
  const std::string twice = GgufBuilder().AddTensor("w", {1}, 0, "ffff").AddTensor("w", {1}, 0, "ffff").Build();
  EXPECT_THAT(OpenError(twice), HasSubstr("twice"));
  // The second tensor's offset is the last field before the data.
  std::string overlapping =
      GgufBuilder().AddTensor("v", {9}, 0, std::string(36, 'v')).AddTensor("w", {1}, 0, "ffff").Build();
  const size_t offset = overlapping.find(GgufBuilder::Bytes<uint64_t>(64), overlapping.find("w"));
  overlapping[offset] = 32;
  EXPECT_THAT(OpenError(overlapping), AllOf(HasSubstr("\"w\""), HasSubstr("within tensor \"v\"")));
  overlapping[offset] = 33;
  EXPECT_THAT(OpenError(overlapping), HasSubstr("alignment"));
}

// Reads all that an opened file offers.
void ReadEverything(const GgufFile& file) {
  for (const std::string_view key : file.metadata().keys()) {
    static_cast<void>(file.metadata().String(key));
    static_cast<void>(file.metadata().Float(key));
    static_cast<void>(file.metadata().Strings(key));
    static_cast<void>(file.metadata().Ints(key));
    static_cast<void>(file.metadata().Floats(key));
    static_cast<void>(file.metadata().Bools(key));
  }
  for (const auto& [name, tensor] : file.tensors()) {
    ASSERT_LE(tensor.bytes, file.file().size());
    ASSERT_LE(tensor.offset, file.file().size() - tensor.bytes);
  }
}

TEST_F(GgufFileTest, AnyDamageIsAnErrorOrAFile) {
  const std::string whole = Small().Build();
  std::mt19937 random(7);
  const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  int num_opened = 0;
  constexpr int kDamages = 4000;
  for (int i = 0; i < kDamages; ++i) {
    std::string bytes = whole;
    const size_t num_changes = 1 + below(3);
    for (size_t j = 0; j < num_changes && !bytes.empty(); ++j) {
      const size_t at = below(bytes.size());
      switch (below(4)) {
        case 0:
          bytes[at] = static_cast<char>(below(256));
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
          break;
        case 2:
          bytes.erase(at, 1 + below(8));
          break;
        default:
          bytes.insert(at, std::string(1 + below(8), below(2) == 0 ? '\0' : '\xFF'));
      }
    }
    const auto file = Open(bytes);
    if (file.ok()) {
      ++num_opened;
      ReadEverything(*file);
    }
  }
  EXPECT_GT(num_opened, 0);
  EXPECT_LT(num_opened, kDamages);
}

}  // namespace
}  // namespace quire
