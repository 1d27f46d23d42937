#include "backend/backend_testing.h"

#include <algorithm>
#include <bit>

namespace quire {

Random::Random() : Random(std::random_device{}()) {}

float Random::Value() {
  switch (Between(0, 40)) {
    case 0:
      return 0.0F;
    case 1:
      return -0.0F;
    case 2:
      return Normal() * 1e-39F;
    case 3:
      return Normal() * 1e-20F;
    case 4:
      return Normal() * 1e4F;
    default:
      return Normal();
  }
}

Matrix Random::Values(int64_t rows, int64_t columns) {
  Matrix matrix(rows, columns);
  for (float& value : matrix.values) value = Value();
  return matrix;
}

std::vector<float> Random::Normals(int64_t n) {
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) value = Normal();
  return values;
}

TestBackend MakeTestBackend(const std::string& isa, int num_threads, int64_t max_rows, int64_t max_features) {
  TestBackend test;
  auto made = MakeCpuBackend({.num_threads = num_threads, .isa = isa});
  EXPECT_TRUE(made.ok());
  test.backend = std::move(made).value();
  test.batch = test->NewBatch({.max_rows = max_rows, .max_features = max_features}).value();
  return test;
}

std::unique_ptr<Batch> TestBackend::Prepared(std::span<const BatchSpan> spans, int32_t num_heads,
                                             int32_t num_kv_heads) const {
  int64_t max_rows = 0;
  for (const BatchSpan& span : spans) max_rows = std::max(max_rows, int64_t{span.first_row} + span.num_rows);
  std::unique_ptr<Batch> prepared =
      backend->NewBatch({.max_rows = max_rows, .num_heads = num_heads, .num_kv_heads = num_kv_heads}).value();
  backend->Prepare(*prepared, {}, spans);
  return prepared;
}

std::unique_ptr<Batch> TestBackend::Prepared(std::span<const int32_t> tokens) const {
  std::unique_ptr<Batch> prepared = backend->NewBatch({.max_rows = static_cast<int64_t>(tokens.size())}).value();
  backend->Prepare(*prepared, tokens, {});
  return prepared;
}

std::vector<std::string> FastIsas() {
  std::vector<std::string> isas = SupportedCpuIsas();
  std::erase_if(isas, [](const std::string& isa) { return isa.starts_with("ref"); });
  return isas;
}

::testing::AssertionResult SameBits(const float* a, const float* b, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    if (std::bit_cast<uint32_t>(a[i]) == std::bit_cast<uint32_t>(b[i])) continue;
    return ::testing::AssertionFailure() << "element " << i << " of " << n << ": " << a[i] << " against " << b[i];
  }
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult SameBits(const Matrix& a, const Matrix& b) {
  if (a.values.size() != b.values.size()) return ::testing::AssertionFailure() << "sizes differ";
  return SameBits(a.values.data(), b.values.data(), static_cast<int64_t>(a.values.size()));
}

}  // namespace quire
