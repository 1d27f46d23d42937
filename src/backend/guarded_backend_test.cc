// That guarded memory is guarded: what the suites that run on it prove rests on this.
#include <gtest/gtest.h>

#include <vector>

#include "backend/guarded_backend_testing.h"

namespace quire {
namespace {

TEST(GuardedBackendDeathTest, TheHostCannotTouchTheDevicesMemory) {
  const auto backend = *MakeGuardedBackend({.isa = "ref"});
  const Buffer buffer = *backend->Allocate(100);
  auto* const memory = static_cast<volatile float*>(buffer.data());
  EXPECT_DEATH(static_cast<void>(*memory), "");
  EXPECT_DEATH(*memory = 1, "");
  const float value = 3;
  backend->Upload(&value, buffer.data(), sizeof value);
  EXPECT_DEATH(static_cast<void>(*memory), "");
  float back = 0;
  backend->Download(buffer.data(), &back, sizeof back);
  EXPECT_EQ(back, 3);
}

TEST(GuardedBackend, MemoryThatCameBackIsGivenOutAgainAndZero) {
  const auto backend = *MakeGuardedBackend({.isa = "ref"});
  Buffer first = *backend->Allocate(5000), second = *backend->Allocate(1);
  const void* const place = first.data();
  const std::vector<char> ones(5000, 1);
  backend->Upload(ones.data(), first.data(), ones.size());
  first = Buffer();
  EXPECT_NE(backend->Allocate(1)->data(), place) << "what lies behind is still in use";
  second = Buffer();
  const Buffer again = *backend->Allocate(5000);
  EXPECT_EQ(again.data(), place);
  std::vector<char> back(5000, 1);
  backend->Download(again.data(), back.data(), back.size());
  EXPECT_EQ(back, std::vector<char>(5000, 0));
}

}  // namespace
}  // namespace quire
