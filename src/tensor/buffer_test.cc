#include "tensor/buffer.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <vector>

namespace quire {
namespace {

// How many bytes of it the system has given.
size_t ResidentBytes(const Buffer& buffer) {
  constexpr size_t kPage = 4096;
  std::vector<unsigned char> pages((buffer.bytes() + kPage - 1) / kPage);
  EXPECT_EQ(mincore(buffer.data(), buffer.bytes(), pages.data()), 0);
  return kPage * static_cast<size_t>(std::ranges::count_if(pages, [](unsigned char page) { return (page & 1) != 0; }));
}

TEST(Buffer, IsAlignedZeroedAndRefusesWhatCannotBe) {
  Result<Buffer> buffer = Buffer::Allocate(1000);
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0U);
  EXPECT_EQ(static_cast<char*>(buffer->data())[999], 0);
  EXPECT_EQ(Buffer::Allocate(size_t{1} << 60).error().code, ErrorCode::kResourceExhausted);
}

TEST(Buffer, IsPopulatedAsFarAsItGoesOnAndKeepsWhatItHolds) {
  constexpr size_t kPiece = size_t{64} << 20, kBytes = kPiece + (size_t{8} << 20) + 5;
  const Buffer buffer = *Buffer::Allocate(kBytes);
  static_cast<char*>(buffer.data())[kBytes - 1] = 'x';
  EXPECT_LT(ResidentBytes(buffer), kPiece);
  int num_asked = 0;
  ASSERT_TRUE(buffer.Populate([&] { return num_asked++ == 0; }).ok());
  EXPECT_EQ(num_asked, 2);
  EXPECT_GE(ResidentBytes(buffer), kPiece);
  EXPECT_LT(ResidentBytes(buffer), kBytes);
  ASSERT_TRUE(buffer.Populate([] { return true; }).ok());
  EXPECT_GE(ResidentBytes(buffer), kBytes);
  EXPECT_EQ(static_cast<char*>(buffer.data())[kBytes - 1], 'x');
  EXPECT_TRUE(Buffer().Populate([] { return true; }).ok());
}

TEST(Buffer, SaysHowMuchThereIsWhereThatIsNotAll) {
  class HalfThere : public MemoryPool {
    void* Take(size_t bytes) override { return mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }
    void Release(void* data, size_t bytes) override { munmap(data, bytes); }
    bool Populate(void*, size_t bytes) override {
      errno = ENOMEM;
      return bytes == size_t{64} << 20;
    }
  };
  HalfThere memory;
  const Buffer buffer = *memory.Allocate(size_t{65} << 20);
  const Status populated = buffer.Populate([] { return true; });
  ASSERT_FALSE(populated.ok());
  EXPECT_EQ(populated.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(populated.error().message, "of 68157440 bytes the system gives only 67108864: Cannot allocate memory");
}

TEST(Arena, LendsAlignedTensorsAndReleasesToAMark) {
  Arena arena(*Buffer::Allocate(1024), Place::kHost);
  const Tensor first = arena.NewTensor(DType::kF32, {3, 5});
  EXPECT_EQ(first.size(), 15);
  const size_t mark = arena.mark();
  const Tensor second = arena.NewTensor(DType::kBf16, {7});
  EXPECT_EQ(reinterpret_cast<uintptr_t>(second.data()) % 64, 0U);
  arena.Release(mark);
  EXPECT_EQ(arena.NewTensor(DType::kBf16, {7}).data(), second.data());
  EXPECT_EQ(first.Rows(1, 3).f32(), first.f32() + 5);
  EXPECT_DEATH(arena.Allocate(4096), "arena of 1024 bytes");
}

}  // namespace
}  // namespace quire
