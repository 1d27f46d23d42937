#include "sampling/row_scan.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <limits>

namespace quire {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Four lanes in the compiler's portable vector type: one SSE or NEON register.
typedef float Float4 __attribute__((vector_size(16)));
typedef int32_t Int4 __attribute__((vector_size(16)));
constexpr size_t kLanes = 4;
constexpr size_t kVectorsPerBlock = kScanBlock / kLanes;

Float4 Load(const float* from) {
  Float4 value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

void Store(Float4 value, float* to) { std::memcpy(to, &value, sizeof(value)); }

Float4 Fill(float value) { return Float4{value, value, value, value}; }

// exp(x) for x <= 0: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial of r, then the exponent n.
Float4 ExpNegative(Float4 x) {
  const Int4 alive = x > -87.0F;
  x = alive ? x : Fill(0);
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer, nearest even
  const Float4 shifted = x * 1.44269504088896341F + kRound;
  const Float4 n = shifted - kRound;
  const Float4 r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
  Float4 p = Fill(1.9875691500e-4F);
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const Float4 mantissa = (p * r * r + r) + 1.0F;
  const Int4 exponent = (__builtin_convertvector(n, Int4) + 127) << 23;
  Float4 scale;
  std::memcpy(&scale, &exponent, sizeof(scale));
  return alive ? mantissa * scale : Fill(0);
}

// A whole block of the row; the last one, if it is short, is completed with -inf in `tail`.
const float* Block(std::span<const float> row, size_t block, std::array<float, kScanBlock>& tail) {
  const size_t begin = block * kScanBlock;
  if (begin + kScanBlock <= row.size()) return row.data() + begin;
  tail.fill(-kInfinity);
  std::copy(row.begin() + static_cast<std::ptrdiff_t>(begin), row.end(), tail.begin());
  return tail.data();
}

float MaxLane(Float4 v) { return std::max(std::max(v[0], v[1]), std::max(v[2], v[3])); }

int32_t FirstEqual(std::span<const float> row, size_t from, float value) {
  while (row[from] != value) ++from;
  return static_cast<int32_t>(from);
}

}  // namespace

RowScan ScanRow(std::span<const float> row, std::span<float> block_max) {
  RowScan scan{.max = -kInfinity};
  size_t best_block = 0;
  Int4 below_infinity = {-1, -1, -1, -1};
  std::array<float, kScanBlock> tail;
  for (size_t b = 0; b < NumScanBlocks(row.size()); ++b) {
    const float* block = Block(row, b, tail);
    Float4 even = Fill(-kInfinity), odd = even;
    for (size_t i = 0; i < kVectorsPerBlock; i += 2) {
      const Float4 x = Load(block + i * kLanes), y = Load(block + (i + 1) * kLanes);
      below_infinity &= (x < kInfinity) & (y < kInfinity);  // false for NaN as well
      even = x > even ? x : even;
      odd = y > odd ? y : odd;
    }
    block_max[b] = MaxLane(even > odd ? even : odd);
    if (block_max[b] > scan.max) {
      scan.max = block_max[b];
      best_block = b;
    }
  }
  const bool all_below = (below_infinity[0] & below_infinity[1] & below_infinity[2] & below_infinity[3]) != 0;
  scan.is_valid = all_below && scan.max > -kInfinity;
  if (scan.is_valid) scan.argmax = FirstEqual(row, best_block * kScanBlock, scan.max);
  return scan;
}

void ComputeWeights(std::span<const float> logits, float max, float inverse_temperature, float* weights) {
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    Store(ExpNegative((Load(&logits[i]) - max) * inverse_temperature), weights + i);
  }
  for (; i < logits.size(); ++i) weights[i] = ExpNegative(Fill((logits[i] - max) * inverse_temperature))[0];
}

double SumWeights(std::span<const float> row, float max, float inverse_temperature, std::span<double> block_sums) {
  double total = 0;
  std::array<float, kScanBlock> tail;
  for (size_t b = 0; b < NumScanBlocks(row.size()); ++b) {
    const float* block = Block(row, b, tail);
    Float4 even = Fill(0), odd = even;
    for (size_t i = 0; i < kVectorsPerBlock; i += 2) {
      even += ExpNegative((Load(block + i * kLanes) - max) * inverse_temperature);
      odd += ExpNegative((Load(block + (i + 1) * kLanes) - max) * inverse_temperature);
    }
    const Float4 sum = even + odd;
    block_sums[b] = static_cast<double>((sum[0] + sum[1]) + (sum[2] + sum[3]));
    total += block_sums[b];
  }
  return total;
}

uint32_t CountBefore(std::span<const float> row, int32_t token) {
  const auto at = static_cast<size_t>(token);
  const float value = row[at];
  uint32_t count = 0;
  for (size_t i = 0; i < at; ++i) count += row[i] >= value ? 1U : 0U;
  for (size_t i = at + 1; i < row.size(); ++i) count += row[i] > value ? 1U : 0U;
  return count;
}

size_t GatherAtLeast(std::span<const float> row, std::span<const float> block_max, float floor, int32_t* ids,
                     float* logits) {
  size_t count = 0;
  for (size_t b = 0; b < block_max.size(); ++b) {
    if (block_max[b] < floor) continue;
    const size_t end = std::min(row.size(), (b + 1) * kScanBlock);
    for (size_t i = b * kScanBlock; i < end; ++i) {
      ids[count] = static_cast<int32_t>(i);
      logits[count] = row[i];
      count += row[i] >= floor ? 1U : 0U;
    }
  }
  return count;
}

float FloorOfTopK(std::span<const float> block_max, size_t k, std::span<float> work) {
  if (block_max.size() < k) return -kInfinity;
  std::copy(block_max.begin(), block_max.end(), work.begin());
  const auto kth = work.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(work.begin(), kth, work.begin() + static_cast<std::ptrdiff_t>(block_max.size()), std::greater<>());
  return *kth;
}

}  // namespace quire
