#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>

#include "backend/backend_factory.h"
#include "backend/cpu/cpu_features.h"

namespace quire {
namespace {

TEST(MakeCpuBackend, OffersTheReferenceAndTheWidestInstructionSet) {
  const std::vector<std::string> isas = SupportedCpuIsas();
  std::cout << "instruction sets of this CPU:";
  for (const std::string& isa : isas) {
    std::cout << ' ' << isa;
    auto backend = MakeCpuBackend({.num_threads = 2, .isa = isa});
    ASSERT_TRUE(backend.ok()) << isa;
    EXPECT_EQ((*backend)->name(), isa.starts_with("ref") ? isa : "cpu-" + isa);
    EXPECT_EQ((*backend)->num_threads(), 2);
  }
  std::cout << '\n';
  EXPECT_EQ(isas[0], "ref-amx");
  EXPECT_EQ(isas[1], "ref");
  EXPECT_EQ((*MakeCpuBackend({}))->name(), isas.size() == 2 ? "ref" : "cpu-" + isas.back());
}

bool Offers(const std::string& isa) {
  const std::vector<std::string> isas = SupportedCpuIsas();
  return std::find(isas.begin(), isas.end(), isa) != isas.end();
}

// Kernels that give other bits than their reference are left out at run time: a defect of ours would hide there.
TEST(MakeCpuBackend, LeavesNoDotProductsUnusedThatTheCpuHas) {
  if (!cpu::HasBf16DotProducts()) GTEST_SKIP() << "this CPU has no bf16 dot products";
  EXPECT_TRUE(Offers("avx512bf16"));
  if (!cpu::HasTileUnit()) GTEST_SKIP() << "this CPU has no tile unit";
  EXPECT_TRUE(Offers("amx"));
}

TEST(MakeCpuBackend, NamesAnUnsupportedInstructionSetAndTheSupportedOnes) {
  const std::vector<std::string> isas = SupportedCpuIsas();
  for (const std::string isa : {"avx2", "avx512", "avx512bf16", "amx", "sse9"}) {
    if (std::find(isas.begin(), isas.end(), isa) != isas.end()) continue;
    const auto backend = MakeCpuBackend({.num_threads = 1, .isa = isa});
    ASSERT_FALSE(backend.ok());
    EXPECT_EQ(backend.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(backend.error().message.find("'" + isa + "'"), std::string::npos);
    for (const std::string& supported : isas) {
      EXPECT_NE(backend.error().message.find(supported), std::string::npos) << supported;
    }
  }
}

TEST(MakeCpuBackend, RefusesImpossibleThreadCounts) {
  EXPECT_FALSE(MakeCpuBackend({.num_threads = 0}).ok());
  EXPECT_FALSE(MakeCpuBackend({.num_threads = 100000}).ok());
}

}  // namespace
}  // namespace quire
