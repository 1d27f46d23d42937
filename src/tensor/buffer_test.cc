#include "tensor/buffer.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace quire {
namespace {

TEST(Buffer, IsAlignedZeroedAndRefusesWhatCannotBe) {
  Result<Buffer> buffer = Buffer::Allocate(1000);
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0U);
  EXPECT_EQ(static_cast<char*>(buffer->data())[999], 0);
  EXPECT_EQ(Buffer::Allocate(size_t{1} << 60).error().code, ErrorCode::kResourceExhausted);
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
