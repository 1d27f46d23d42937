// Files that lie: whatever a header says, opening gives an error that names the file, or entries within the file.
#include "weights/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "model/model_testing.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

using ::testing::HasSubstr;
using testing::RawTensor;
using testing::SafetensorsBytes;
using testing::ScratchDirectory;

Error OpenError(const std::string& bytes) {
  const ScratchDirectory directory;
  directory.Write("m.safetensors", bytes);
  const auto file = SafetensorsFile::Open(directory.File("m.safetensors"));
  EXPECT_FALSE(file.ok());
  if (file.ok()) return {};
  EXPECT_THAT(file.error().message, HasSubstr("m.safetensors"));
  return file.error();
}

// A file with one tensor "w" whose header entry is given, over 16 bytes of data.
Error EntryError(const std::string& entry) {
  const Error error = OpenError(SafetensorsBytes("{\"w\":" + entry + "}", std::string(16, 'x')));
  EXPECT_THAT(error.message, HasSubstr("\"w\""));
  return error;
}

std::string SmallFile() {
  return SafetensorsBytes(std::vector<RawTensor>{{"empty", "F32", {0, 4}, ""},
                                                 {"a", "F32", {2, 3}, std::string(24, 'a')},
                                                 {"b", "BF16", {5}, std::string(10, 'b')},
                                                 {"scalar", "I64", {}, std::string(8, 'c')}});
}

TEST(SafetensorsTest, ReadsNamesTypesShapesAndData) {
  const ScratchDirectory directory;
  directory.Write("m.safetensors", SmallFile());
  const auto file = SafetensorsFile::Open(directory.File("m.safetensors"));
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->entries().size(), 4U);
  const SafetensorsEntry* a = file->Find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->dtype, DType::kF32);
  EXPECT_THAT(a->shape, ::testing::ElementsAre(2, 3));
  EXPECT_EQ(a->bytes, 24U);
  std::byte first{};
  ASSERT_TRUE(file->file().Read(a->offset, {&first, 1}).ok());
  EXPECT_EQ(first, std::byte{'a'});
  EXPECT_EQ(file->Find("scalar")->bytes, 8U);
  EXPECT_EQ(file->Find("empty")->bytes, 0U);
  EXPECT_EQ(file->Find("c"), nullptr);
}

TEST(SafetensorsTest, AcceptsMetadataAndUnknownHereButValidTypes) {
  const ScratchDirectory directory;
  directory.Write("m.safetensors", SafetensorsBytes(R"({"__metadata__":{"format":"pt"},)"
                                                    R"("w":{"dtype":"F8_E4M3","shape":[16],"data_offsets":[0,16]}}   )",
                                                    std::string(16, 'x')));
  const auto file = SafetensorsFile::Open(directory.File("m.safetensors"));
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->Find("w")->dtype, std::nullopt);
  EXPECT_EQ(file->Find("w")->dtype_name, "F8_E4M3");
}

TEST(SafetensorsTest, EveryTruncationIsAnError) {
  const std::string whole = SmallFile();
  for (size_t length = 0; length < whole.size(); ++length) {
    SCOPED_TRACE(length);
    EXPECT_EQ(OpenError(whole.substr(0, length)).code, ErrorCode::kDataLoss);
  }
}

TEST(SafetensorsTest, TruncatedDataNamesTheTensor) {
  const std::string whole = SmallFile();
  EXPECT_THAT(OpenError(whole.substr(0, whole.size() - 1)).message,
              ::testing::AllOf(HasSubstr("\"scalar\""), HasSubstr("truncated")));
}

TEST(SafetensorsTest, TrailingBytesAreAnError) {
  EXPECT_THAT(OpenError(SmallFile() + "x").message, HasSubstr("the tensors end at byte 42 of 43"));
}

TEST(SafetensorsTest, HostileHeaderLengths) {
  for (const uint64_t length : {uint64_t{100'000'001}, ~uint64_t{0}, uint64_t{1} << 63, uint64_t{99'999'999}}) {
    std::string bytes = SmallFile();
    for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i));
    EXPECT_EQ(OpenError(bytes).code, ErrorCode::kDataLoss) << length;
  }
}

TEST(SafetensorsTest, HeadersThatAreNoObjects) {
  for (const char* header : {"", "[]", "7", "null", "{", "{\"w\"", "\xFF\xFE", "{\"w\":{}}x",
                             R"({"w":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,16]}})"}) {
    OpenError(SafetensorsBytes(header, ""));
  }
  OpenError(SafetensorsBytes(std::string(100000, '['), ""));
}

TEST(SafetensorsTest, BadEntriesNameTheTensor) {
  EXPECT_THAT(EntryError("[]").message, HasSubstr("not an object"));
  EXPECT_THAT(EntryError(R"({"dtype":"F32","data_offsets":[0,16]})").message, HasSubstr("shape"));
  EXPECT_THAT(EntryError(R"({"dtype":"F32","shape":[-4],"data_offsets":[0,16]})").message, HasSubstr("shape"));
  EXPECT_THAT(EntryError(R"({"dtype":"F32","shape":[2.5],"data_offsets":[0,16]})").message, HasSubstr("shape"));
  EXPECT_THAT(EntryError(R"({"shape":[4],"data_offsets":[0,16]})").message, HasSubstr("dtype"));
  EXPECT_THAT(EntryError(R"({"dtype":"F32","shape":[4]})").message, HasSubstr("data_offsets"));
  EXPECT_THAT(EntryError(R"({"dtype":"F32","shape":[4],"data_offsets":[0]})").message, HasSubstr("data_offsets"));
  EXPECT_THAT(EntryError(R"({"dtype":"F32","shape":[4],"data_offsets":[0,-1]})").message, HasSubstr("data_offsets"));
  EXPECT_THAT(EntryError(R"({"dtype":"F32","shape":[4],"data_offsets":[16,0]})").message, HasSubstr("backwards"));
  EXPECT_THAT(EntryError(R"({"dtype":"F32","shape":[8],"data_offsets":[0,32]})").message, HasSubstr("beyond the 16"));
  EXPECT_THAT(EntryError(R"({"dtype":"F32","shape":[3],"data_offsets":[0,16]})").message, HasSubstr("16 bytes"));
  EXPECT_THAT(EntryError(R"({"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,16]})").message,
              HasSubstr("does not take"));
  EXPECT_THAT(EntryError(R"({"dtype":"F32","shape":[2],"data_offsets":[8,16]})").message, HasSubstr("hole"));
}

TEST(SafetensorsTest, OverlapsHolesAndDuplicatesNameTheTensor) {
  const std::string data(16, 'x');
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const auto error_of = [&](const std::string& second) {
    return OpenError(SafetensorsBytes("{" + a + "," + second + "}", data)).message;
  };
  EXPECT_THAT(error_of(R"("b":{"dtype":"F32","shape":[3],"data_offsets":[4,16]})"),
              HasSubstr("tensor \"b\": its data begins at byte 4, within tensor \"a\""));
  EXPECT_THAT(error_of(R"("b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]})"),
              HasSubstr("tensor \"b\": its data begins at byte 12, which leaves a hole after 8"));
  EXPECT_THAT(error_of(R"("a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]})"),
              HasSubstr("\"a\": it is there twice"));
}

TEST(SafetensorsTest, NamesAreMadePrintable) {
  EXPECT_EQ(PrintableName("a\n\"b"), "\"a\\x0a\\x22b\"");
  EXPECT_LT(PrintableName(std::string(100000, 'x')).size(), 200U);
}

// Any bytes at all: an error, or entries that lie within the file and have their type's size.
TEST(SafetensorsTest, RandomMutationsNeverReachBeyondTheFile) {
  const std::string whole = SmallFile();
  const size_t mutable_bytes = whole.size() - 42;  // the length and the header
  constexpr uint64_t kSeed = 7;
  SCOPED_TRACE(kSeed);
  std::mt19937_64 rng(kSeed);
  const ScratchDirectory directory;
  const std::string digits = "0123456789[]{}\",:-eE. ";
  int accepted = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string bytes = whole;
    for (uint64_t i = 0; i <= rng() % 3; ++i) {
      const bool plausible = rng() % 2 == 0;
      bytes[rng() % mutable_bytes] = plausible ? digits[rng() % digits.size()] : static_cast<char>(rng());
    }
    directory.Write("m.safetensors", bytes);
    const auto file = SafetensorsFile::Open(directory.File("m.safetensors"));
    if (!file.ok()) {
      EXPECT_THAT(file.error().message, HasSubstr("m.safetensors"));
      continue;
    }
    ++accepted;
    size_t total = 0;
    for (const auto& [name, entry] : file->entries()) total += entry.bytes;
    EXPECT_EQ(total, 42U);
  }
  EXPECT_GT(accepted, 0);  // a changed name is no fault
}

}  // namespace
}  // namespace quire
