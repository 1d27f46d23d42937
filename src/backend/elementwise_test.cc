// Norms, gates, embedding and gathering: every instruction set against the reference to the bit.
#include <cmath>

#include "backend/backend_testing.h"

namespace quire {
namespace {

// Runs `fn(backend)` on the reference and on all other instruction sets and compares what it returns.
template <typename Fn>
void ExpectAllEqual(Fn fn) {
  const Matrix expected = fn(MakeTestBackend("ref", 1));
  for (const std::string& isa : FastIsas()) EXPECT_TRUE(SameBits(fn(MakeTestBackend(isa, 2)), expected)) << isa;
}

TEST(RmsNorm, EqualsTheReferenceToTheBit) {
  Random random;
  SCOPED_TRACE(::testing::Message() << "seed " << random.seed());
  for (int trial = 0; trial < 40; ++trial) {
    const int64_t rows = random.Between(1, 20), n = random.Between(1, 700);
    const Matrix x = random.Values(rows, n);
    const std::vector<float> weight = random.Normals(n);
    const bool in_place = random.Between(0, 1) == 1;
    ExpectAllEqual([&](const TestBackend& test) {
      Matrix operand = x, y(rows, n);
      test->RmsNorm({.x = operand.tensor(),
                     .weight = weight.data(),
                     .epsilon = 1e-5F,
                     .y = in_place ? operand.tensor() : y.tensor()});
      return in_place ? operand : y;
    });
  }
}

TEST(GatedActivation, EqualsTheReferenceToTheBit) {
  Random random;
  SCOPED_TRACE(::testing::Message() << "seed " << random.seed());
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
    for (int trial = 0; trial < 20; ++trial) {
      const int64_t rows = random.Between(1, 20), n = random.Between(1, 700);
      Matrix gate_up = random.Values(rows, 2 * n);
      for (float& value : gate_up.values) value *= 4.0F;
      ExpectAllEqual([&](const TestBackend& test) {
        Matrix operand = gate_up, y(rows, n);
        test->GatedActivation({.gate_up = operand.tensor(), .activation = activation, .y = y.tensor()});
        return y;
      });
    }
  }
}

TEST(Embed, GivesTheTablesRows) {
  Random random;
  Matrix table = random.Values(150, 33);
  const TensorMatrix stored(table.tensor());
  const MatrixPart parts[] = {WholeOf(stored)};
  const std::vector<int32_t> ids = {149, 0, 70, 70};
  ExpectAllEqual([&](const TestBackend& test) {
    Matrix y(8, 33);
    const auto batch = test.Prepared(ids);
    for (const auto& [format, first] : {std::pair(DType::kF32, 0), std::pair(DType::kBf16, 4)}) {
      const auto packed = test->PackLinear(parts, format, HostMemory());
      EXPECT_TRUE(packed.ok());
      test->Embed(*batch, **packed, y.tensor().Rows(first, first + 4));
    }
    EXPECT_TRUE(SameBits(y.row(2), table.row(70), 33));
    EXPECT_EQ(y.row(7)[32], ToFloat(ToBf16(table.row(70)[32])));
    return y;
  });
}

TEST(GatherRows, GivesTheAskedRows) {
  Random random;
  Matrix x = random.Values(6, 9);
  const std::vector<int32_t> rows = {5, 0, 5};
  ExpectAllEqual([&](const TestBackend& test) {
    Matrix y(3, 9);
    test->GatherRows(x.tensor(), rows, y.tensor());
    EXPECT_TRUE(SameBits(y.row(0), x.row(5), 9));
    EXPECT_TRUE(SameBits(y.row(1), x.row(0), 9));
    return y;
  });
}

TEST(ParallelFor, CoversTheRangeOnce) {
  for (const std::string isa : {"ref", "auto"}) {
    const TestBackend test = MakeTestBackend(isa, 3);
    std::vector<int> counts(101);
    test->ParallelFor(101, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++counts[static_cast<size_t>(i)];
    });
    EXPECT_EQ(counts, std::vector<int>(101, 1));
  }
}

}  // namespace
}  // namespace quire
