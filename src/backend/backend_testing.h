// What the tests of backends share: random operands, backends of every instruction set, comparison to the bit.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "backend/backend_factory.h"

namespace quire {

// A matrix that owns its numbers.
struct Matrix {
  Matrix(int64_t rows, int64_t columns) : rows(rows), columns(columns), values(static_cast<size_t>(rows * columns)) {}
  int64_t rows, columns;
  std::vector<float> values;

  // As an operand: a device of the host's own reads its memory.
  Tensor tensor() { return Tensor(values.data(), DType::kF32, {rows, columns}, Place::kDevice); }
  float* row(int64_t r) { return values.data() + r * columns; }
  const float* row(int64_t r) const { return values.data() + r * columns; }
};

// Seeded anew in every run; a failure prints the seed.
class Random {
 public:
  Random();
  explicit Random(uint32_t seed) : seed_(seed), engine_(seed) {}
  uint32_t seed() const { return seed_; }

  int64_t Between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }
  float Normal() { return std::normal_distribution<float>()(engine_); }
  // Mostly normal; now and then zero, minus zero, denormal, tiny or large.
  float Value();
  Matrix Values(int64_t rows, int64_t columns);
  std::vector<float> Normals(int64_t n);

 private:
  uint32_t seed_;
  std::mt19937 engine_;
};

// A backend, and a batch of `max_rows` rows of `max_features` for products.
struct TestBackend {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Batch> batch;
  Backend* operator->() const { return backend.get(); }

  // A batch of its own for what attention needs to know.
  std::unique_ptr<Batch> Prepared(std::span<const BatchSpan> spans, int32_t num_heads, int32_t num_kv_heads) const;
  std::unique_ptr<Batch> Prepared(std::span<const int32_t> tokens) const;
};
TestBackend MakeTestBackend(const std::string& isa, int num_threads, int64_t max_rows = 1, int64_t max_features = 1);

// Instruction sets of this CPU but the references.
std::vector<std::string> FastIsas();

// `n` floats equal to the bit; prints the first that are not.
::testing::AssertionResult SameBits(const float* a, const float* b, int64_t n);
::testing::AssertionResult SameBits(const Matrix& a, const Matrix& b);

}  // namespace quire
