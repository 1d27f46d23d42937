// Linear layers: every instruction set against the reference to the bit, and every row against itself alone.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "backend/backend_testing.h"
#include "base/error.h"

namespace quire {
namespace {

struct Layer {
  Matrix weight;
  std::vector<float> bias;
  DType format;
};

Layer RandomLayer(Random& random, int64_t n, int64_t k, DType format) {
  return {random.Values(n, k), random.Normals(n), format};
}

std::unique_ptr<PackedLinear> Pack(Backend& backend, Layer& layer) {
  const TensorMatrix weight(layer.weight.tensor());
  const MatrixPart parts[] = {WholeOf(weight)};
  auto packed = backend.PackLinear(parts, layer.format, HostMemory());
  EXPECT_TRUE(packed.ok());
  return std::move(packed).value();
}

Matrix Apply(const TestBackend& test, const PackedLinear& packed, const float* bias, Matrix x) {
  Matrix y(x.rows, packed.out_features());
  test->Linear({.batch = test.batch.get(), .x = x.tensor(), .weight = &packed, .bias = bias, .y = y.tensor()});
  return y;
}

class EveryFormat : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Linear, EveryFormat, ::testing::Values(DType::kF32, DType::kBf16),
                         [](const auto& info) { return DTypeName(info.param); });

TEST_P(EveryFormat, RandomShapesEqualTheReferenceToTheBit) {
  Random random;
  SCOPED_TRACE(::testing::Message() << "seed " << random.seed());
  for (int trial = 0; trial < 24; ++trial) {
    const int64_t rows = random.Between(1, 40), n = random.Between(1, 200), k = random.Between(1, 640);
    SCOPED_TRACE(::testing::Message() << rows << " x " << k << " -> " << n);
    Layer layer = RandomLayer(random, n, k, GetParam());
    const Matrix x = random.Values(rows, k), residual = random.Values(rows, n);
    const bool biased = random.Between(0, 1) == 1, accumulate = random.Between(0, 1) == 1;
    const auto run = [&](const std::string& isa, int threads) {
      const TestBackend test = MakeTestBackend(isa, threads, rows, k);
      Matrix operand = x, y = residual;
      const auto packed = Pack(*test.backend, layer);
      test->Linear({.batch = test.batch.get(),
                    .x = operand.tensor(),
                    .weight = packed.get(),
                    .bias = biased ? layer.bias.data() : nullptr,
                    .y = y.tensor(),
                    .accumulate = accumulate});
      return y;
    };
    for (const std::string& isa : FastIsas()) {
      EXPECT_TRUE(SameBits(run(isa, 2), run(ReferenceOf(isa), 1))) << isa;
    }
  }
}

TEST_P(EveryFormat, ARowIsTheSameInBatchesOf1To130OnAnyNumberOfThreads) {
  Random random;
  SCOPED_TRACE(::testing::Message() << "seed " << random.seed());
  constexpr int64_t kRows = 130, kOut = 93, kIn = 301;
  Layer layer = RandomLayer(random, kOut, kIn, GetParam());
  const Matrix x = random.Values(kRows, kIn);
  for (const std::string& isa : FastIsas()) {
    const TestBackend ref = MakeTestBackend(ReferenceOf(isa), 1, kRows, kIn);
    const Matrix alone = Apply(ref, *Pack(*ref.backend, layer), layer.bias.data(), x);
    for (const int threads : {1, 2, 3, 8}) {
      const TestBackend test = MakeTestBackend(isa, threads, kRows, kIn);
      const auto packed = Pack(*test.backend, layer);
      for (int64_t rows = 1; rows <= kRows; ++rows) {
        Matrix batch(rows, kIn);
        std::copy_n(x.values.data(), rows * kIn, batch.values.data());
        const Matrix y = Apply(test, *packed, layer.bias.data(), batch);
        ASSERT_TRUE(SameBits(y.values.data(), alone.values.data(), rows * kOut))
            << isa << " " << threads << " " << rows;
      }
    }
  }
}

TEST_P(EveryFormat, LargeBatchesEqualSmallOnes) {
  Random random;
  SCOPED_TRACE(::testing::Message() << "seed " << random.seed());
  constexpr int64_t kOut = 70, kIn = 530;
  Layer layer = RandomLayer(random, kOut, kIn, GetParam());
  const Matrix x = random.Values(449, kIn);
  for (const std::string& isa : FastIsas()) {
    const TestBackend test = MakeTestBackend(isa, 2, x.rows, kIn);
    const auto packed = Pack(*test.backend, layer);
    const Matrix together = Apply(test, *packed, nullptr, x);
    for (int64_t first = 0; first < x.rows; first += 7) {
      const int64_t rows = std::min<int64_t>(7, x.rows - first);
      Matrix few(rows, kIn);
      std::copy_n(x.row(first), rows * kIn, few.values.data());
      const Matrix y = Apply(test, *packed, nullptr, few);
      ASSERT_TRUE(SameBits(y.values.data(), together.row(first), rows * kOut)) << isa << " row " << first;
    }
  }
}

// So wide that a task has several panels, the last one of them cut short.
TEST_P(EveryFormat, WideLayersEqualTheReferenceToTheBit) {
  Random random;
  SCOPED_TRACE(::testing::Message() << "seed " << random.seed());
  constexpr int64_t kOut = 1100, kIn = 301, kDistinct = 40, kRows = 300;
  Layer layer = RandomLayer(random, kOut, kIn, GetParam());
  // The reference is slow: rows repeat.
  Matrix x = random.Values(kRows, kIn), residual = random.Values(kRows, kOut);
  for (int64_t row = kDistinct; row < kRows; ++row) {
    std::copy_n(x.row(row % kDistinct), kIn, x.row(row));
    std::copy_n(residual.row(row % kDistinct), kOut, residual.row(row));
  }
  const auto run = [&](const std::string& isa, int threads, int64_t rows) {
    const TestBackend test = MakeTestBackend(isa, threads, rows, kIn);
    Matrix operand = x, y = residual;
    const auto packed = Pack(*test.backend, layer);
    test->Linear({.batch = test.batch.get(),
                  .x = Tensor(operand.values.data(), DType::kF32, {rows, kIn}, Place::kDevice),
                  .weight = packed.get(),
                  .bias = layer.bias.data(),
                  .y = Tensor(y.values.data(), DType::kF32, {rows, kOut}, Place::kDevice),
                  .accumulate = true});
    return y;
  };
  std::map<std::string, Matrix> expected;  // by reference
  for (const std::string& isa : FastIsas()) {
    const auto [reference, is_new] = expected.try_emplace(ReferenceOf(isa), 0, 0);
    if (is_new) reference->second = run(ReferenceOf(isa), 2, kDistinct);
    for (const int threads : {1, 2}) {
      for (const int64_t rows : {17, 40, 130, 300}) {
        Matrix y = run(isa, threads, rows);
        for (int64_t row = 0; row < rows; ++row) {
          ASSERT_TRUE(SameBits(y.row(row), reference->second.row(row % kDistinct), kOut))
              << isa << " " << threads << " threads, row " << row << " of " << rows;
        }
      }
    }
  }
}

TEST_P(EveryFormat, ANanStaysInItsRow) {
  Random random;
  Layer layer = RandomLayer(random, 77, 95, GetParam());
  Matrix x = random.Values(9, 95);
  for (const std::string& isa : FastIsas()) {
    const TestBackend test = MakeTestBackend(isa, 2, 9, 95);
    const auto packed = Pack(*test.backend, layer);
    Matrix poisoned = x;
    poisoned.row(4)[17] = std::nanf("");
    const Matrix y = Apply(test, *packed, nullptr, x), z = Apply(test, *packed, nullptr, poisoned);
    for (int64_t r = 0; r < 9; ++r) {
      if (r == 4) continue;
      EXPECT_TRUE(SameBits(y.row(r), z.row(r), 77)) << isa << " row " << r;
    }
    for (int64_t c = 0; c < 77; ++c) EXPECT_TRUE(std::isnan(z.row(4)[c])) << isa;
  }
}

// q, k and v of different source formats become one layer; sources need no alignment.
TEST(PackLinear, ConcatenatesUnalignedPartsOfAnyFormat) {
  Random random;
  SCOPED_TRACE(::testing::Message() << "seed " << random.seed());
  constexpr int64_t kIn = 37;
  std::vector<char> f32(5 * kIn * 4 + 1), bf16(70 * kIn * 2 + 1), f16(9 * kIn * 2 + 1);
  for (size_t i = 0; i < 5 * kIn; ++i) {
    const float value = random.Normal();
    std::memcpy(f32.data() + 1 + i * 4, &value, 4);
  }
  for (size_t i = 0; i < 70 * kIn; ++i) {
    const Bf16 value = ToBf16(random.Normal());
    std::memcpy(bf16.data() + 1 + i * 2, &value, 2);
  }
  for (size_t i = 0; i < 9 * kIn; ++i) {
    const auto value = static_cast<uint16_t>(random.Between(0, 1) << 15 | random.Between(0, 0x7BFF));
    std::memcpy(f16.data() + 1 + i * 2, &value, 2);
  }
  const TensorMatrix first(Tensor(f32.data() + 1, DType::kF32, {5, kIn}));
  const TensorMatrix second(Tensor(bf16.data() + 1, DType::kBf16, {70, kIn}));
  const TensorMatrix third(Tensor(f16.data() + 1, DType::kF16, {9, kIn}));
  const MatrixPart parts[] = {WholeOf(first), WholeOf(second), WholeOf(third)};
  const Matrix x = random.Values(3, kIn);
  for (const DType format : {DType::kF32, DType::kBf16}) {
    for (const std::string& isa : FastIsas()) {
      const TestBackend ref = MakeTestBackend(ReferenceOf(isa), 1, 3, kIn);
      auto expected = ref->PackLinear(parts, format, HostMemory());
      ASSERT_TRUE(expected.ok());
      EXPECT_EQ((*expected)->out_features(), 84);
      const TestBackend test = MakeTestBackend(isa, 3, 3, kIn);
      auto packed = test->PackLinear(parts, format, HostMemory());
      ASSERT_TRUE(packed.ok());
      EXPECT_TRUE(SameBits(Apply(test, **packed, nullptr, x), Apply(ref, **expected, nullptr, x))) << isa;
    }
  }
}

// Shards of rows and of columns, and fused tensors: what they multiply to is what the cut matrix does.
TEST_P(EveryFormat, PacksAnyPartsOfMatrices) {
  Random random;
  SCOPED_TRACE(::testing::Message() << "seed " << random.seed());
  for (int trial = 0; trial < 10; ++trial) {
    Matrix a = random.Values(random.Between(1, 150), random.Between(1, 80));
    Matrix b = random.Values(random.Between(1, 150), random.Between(1, 80));
    const TensorMatrix stored_a(a.tensor()), stored_b(b.tensor());
    const int64_t width = random.Between(1, std::min(a.columns, b.columns));
    std::vector<MatrixPart> parts;
    std::vector<float> cut;
    for (int64_t i = random.Between(1, 4); i > 0; --i) {
      const bool first = random.Between(0, 1) == 0;
      const Matrix& from = first ? a : b;
      MatrixRange range = {.num_rows = random.Between(1, from.rows), .num_columns = width};
      range.first_row = random.Between(0, from.rows - range.num_rows);
      range.first_column = random.Between(0, from.columns - width);
      parts.push_back({.matrix = first ? &stored_a : &stored_b, .range = range});
      for (int64_t row = range.first_row; row < range.first_row + range.num_rows; ++row) {
        const float* begin = from.row(row) + range.first_column;
        cut.insert(cut.end(), begin, begin + width);
      }
    }
    Layer layer = {Matrix(static_cast<int64_t>(cut.size()) / width, width), {}, GetParam()};
    layer.weight.values = cut;
    const Matrix x = random.Values(3, width);
    for (const std::string& isa : {std::string("ref"), std::string("auto")}) {
      const TestBackend test = MakeTestBackend(isa, 2, 3, width);
      const auto packed = test->PackLinear(parts, GetParam(), HostMemory());
      ASSERT_TRUE(packed.ok());
      EXPECT_EQ((*packed)->bytes(), test->PackedBytes((*packed)->out_features(), width, GetParam()));
      EXPECT_TRUE(SameBits(Apply(test, **packed, nullptr, x), Apply(test, *Pack(*test.backend, layer), nullptr, x)));
    }
  }
}

TEST(PackLinear, RefusesWhatCannotBeOneLayer) {
  Matrix a(4, 8), b(4, 9);
  const TensorMatrix narrow(a.tensor()), wide(b.tensor());
  const MatrixPart good[] = {WholeOf(narrow)}, widths[] = {WholeOf(narrow), WholeOf(wide)};
  MatrixPart too_far[] = {WholeOf(narrow)}, nothing[] = {WholeOf(narrow)};
  too_far[0].range.first_row = 1;
  nothing[0].range.num_columns = 0;
  for (const std::string isa : {"ref", "auto"}) {
    const TestBackend test = MakeTestBackend(isa, 1);
    EXPECT_TRUE(test->PackLinear(good, DType::kF32, HostMemory()).ok());
    EXPECT_FALSE(test->PackLinear(widths, DType::kF32, HostMemory()).ok());
    EXPECT_FALSE(test->PackLinear(too_far, DType::kF32, HostMemory()).ok());
    EXPECT_FALSE(test->PackLinear(nothing, DType::kF32, HostMemory()).ok());
    EXPECT_FALSE(test->PackLinear(good, DType::kI8, HostMemory()).ok());
    EXPECT_FALSE(test->PackLinear({}, DType::kF32, HostMemory()).ok());
  }
}

// A matrix that cannot be read from some row on.
class TornMatrix : public MatrixReader {
 public:
  int64_t num_rows() const override { return 300; }
  int64_t num_columns() const override { return 8; }
  Status Read(const MatrixRange& range, DType dtype, void* to) const override {
    if (range.first_row + range.num_rows > 200) return DataLoss("torn");
    std::memset(to, 0, static_cast<size_t>(range.num_rows * range.num_columns) * DTypeSize(dtype));
    return {};
  }
};

TEST(PackLinear, FailsAsReadingDoes) {
  const TornMatrix torn;
  const MatrixPart parts[] = {WholeOf(torn)};
  for (const std::string isa : {"ref", "auto"}) {
    const TestBackend test = MakeTestBackend(isa, 3);
    const auto packed = test->PackLinear(parts, DType::kBf16, HostMemory());
    ASSERT_FALSE(packed.ok());
    EXPECT_EQ(packed.error().message, "torn");
  }
}

}  // namespace
}  // namespace quire
