#include "runner/swap_file.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <vector>

#include "base/env_testing.h"

namespace quire {
namespace {

std::vector<std::byte> Pattern(size_t bytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> pattern(bytes);
  for (std::byte& byte : pattern) byte = static_cast<std::byte>(random());
  return pattern;
}

void Write(SwapFile& file, uint32_t place, uint32_t seed) {
  const auto memory = file.PlaceForWrite(place);
  ASSERT_TRUE(memory.ok()) << memory.error().message;
  const std::vector<std::byte> pattern = Pattern(file.place_bytes(), seed);
  std::memcpy(*memory, pattern.data(), pattern.size());
}

void ExpectHolds(SwapFile& file, uint32_t place, uint32_t seed) {
  const auto memory = file.PlaceForRead(place);
  ASSERT_TRUE(memory.ok()) << memory.error().message;
  EXPECT_EQ(std::vector<std::byte>(*memory, *memory + file.place_bytes()), Pattern(file.place_bytes(), seed));
}

TEST(SwapFile, KeepsEveryPlace) {
  const TemporaryDirectory directory;
  for (const size_t place_bytes : {1U, 24U, 4096U, 100'000U}) {
    const auto file = *SwapFile::Create({.directory = directory.path(), .num_places = 20, .place_bytes = place_bytes});
    for (uint32_t place = 0; place < 20; ++place) Write(*file, place, place);
    for (uint32_t place = 0; place < 20; place += 3) Write(*file, place, 100 + place);
    for (uint32_t place = 0; place < 20; ++place) ExpectHolds(*file, place, place % 3 == 0 ? 100 + place : place);
  }
}

TEST(SwapFile, LeavesNoNameBehind) {
  const TemporaryDirectory directory;
  const auto file = *SwapFile::Create({.directory = directory.path(), .num_places = 2, .place_bytes = 64});
  EXPECT_TRUE(Env::Posix().ListDirectory(directory.path())->empty());
}

TEST(SwapFile, GrowsOnlyAsFarAsItIsUsed) {
  const TemporaryDirectory directory;
  const size_t place_bytes = size_t{10} << 20;
  const auto file = *SwapFile::Create({.directory = directory.path(), .num_places = 30, .place_bytes = place_bytes});
  EXPECT_EQ(file->file_bytes(), 0U);
  ASSERT_TRUE(file->PlaceForWrite(0).ok());
  EXPECT_EQ(file->file_bytes(), size_t{64} << 20);
  ASSERT_TRUE(file->PlaceForWrite(5).ok());
  EXPECT_EQ(file->file_bytes(), size_t{64} << 20);
  ASSERT_TRUE(file->PlaceForWrite(6).ok());
  EXPECT_EQ(file->file_bytes(), size_t{128} << 20);
  ASSERT_TRUE(file->PlaceForWrite(29).ok());
  EXPECT_EQ(file->file_bytes(), 30 * place_bytes);
}

TEST(SwapFile, APlaceComesWithItsPages) {
  const TemporaryDirectory directory;
  const auto page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto file = *SwapFile::Create({.directory = directory.path(), .num_places = 4, .place_bytes = 32 * page_bytes});
  for (const uint32_t place : {2U, 0U}) {
    std::byte* const memory = *file->PlaceForWrite(place);
    std::vector<unsigned char> is_present(32);
    ASSERT_EQ(mincore(memory, file->place_bytes(), is_present.data()), 0);
    for (const unsigned char present : is_present) EXPECT_EQ(present & 1, 1);
  }
}

TEST(SwapFile, AFullDiskIsAnErrorOfThePlaceAlone) {
  const TemporaryDirectory directory;
  FaultEnv env;
  const size_t place_bytes = size_t{40} << 20;
  const auto file =
      *SwapFile::Create({.directory = directory.path(), .num_places = 4, .place_bytes = place_bytes, .env = &env});
  Write(*file, 0, 7);
  env.Fail(FaultEnv::Operation::kAllocate);
  EXPECT_EQ(file->PlaceForWrite(3).error().code, ErrorCode::kResourceExhausted);
  EXPECT_FALSE(file->PlaceForRead(3).ok());
  ExpectHolds(*file, 0, 7);
  env.Fail(FaultEnv::Operation::kAllocate, 0);
  Write(*file, 3, 8);
  ExpectHolds(*file, 3, 8);
}

TEST(SwapFile, TakesLessThanAChunkWhereTheDiskHasNoRoomForOne) {
  const TemporaryDirectory directory;
  FaultEnv env;
  const auto file =
      *SwapFile::Create({.directory = directory.path(), .num_places = 1'000'000, .place_bytes = 1000, .env = &env});
  env.Fail(FaultEnv::Operation::kAllocate, 1);
  Write(*file, 4, 7);
  EXPECT_EQ(file->file_bytes(), 5000U);
  ExpectHolds(*file, 4, 7);
}

TEST(SwapFile, NamesADirectoryThatCannotBeUsed) {
  const auto file = SwapFile::Create({.directory = "/nowhere/at/all", .num_places = 1, .place_bytes = 64});
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.error().message.find("/nowhere/at/all"), std::string::npos);
  EXPECT_FALSE(SwapFile::Create({.num_places = 0, .place_bytes = 64}).ok());
}

}  // namespace
}  // namespace quire
