// Checks of elementwise.h against plain loops in double precision, the same on the emulator and on a card. A Machine:
//
//   Array<T>: what its kernels can reach, made from a std::vector<T>; data(), Download() to a vector;
//   Embed(args, rows), Norm(args, rows, threads), Rope<kHeadDim>(args, rows), Activate(args, rows), Choose(args, rows):
//   launch and wait.
//
// Each check says what is wrong, or nothing. Outputs are poisoned: what a kernel should have written and has not is
// NaN, and what it should have left alone is compared.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kernels/elementwise.h"

namespace quire::cuda {

using Mismatch = std::optional<std::string>;

constexpr uint16_t kPoisonBf16 = 0xFFFF;

inline double Bf16Value(uint16_t bits) { return double{std::bit_cast<float>(uint32_t{bits} << 16)}; }
inline uint16_t Bf16Of(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

class Numbers {
 public:
  explicit Numbers(uint64_t seed) : random_(static_cast<uint32_t>(seed)) {}
  std::vector<float> Floats(size_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = normal_(random_);
    return values;
  }
  std::vector<uint16_t> Bf16(size_t count, float scale = 1) {
    std::vector<uint16_t> values(count);
    for (uint16_t& value : values) value = Bf16Of(scale * normal_(random_));
    return values;
  }
  size_t Below(size_t bound) { return random_() % bound; }

 private:
  std::mt19937 random_;
  std::normal_distribution<float> normal_;
};

inline Mismatch Differs(const char* what, size_t index, double got, double expected, double tolerance) {
  if (std::abs(got - expected) <= tolerance) return std::nullopt;
  return std::string(what) + " " + std::to_string(index) + ": " + std::to_string(got) + ", not " +
         std::to_string(expected);
}
// One rounding to bf16, and that of floats before it.
inline Mismatch DiffersBf16(const char* what, size_t index, uint16_t got, double expected) {
  return Differs(what, index, Bf16Value(got), expected, std::abs(expected) * 0x1.02p-8 + 1e-5);
}

template <typename Machine>
Mismatch CheckEmbedding(Machine& machine, size_t rows, size_t features, uint64_t seed) {
  constexpr size_t kVocabulary = 19;
  Numbers numbers(seed);
  const std::vector<uint16_t> table = numbers.Bf16(kVocabulary * features);
  std::vector<int32_t> ids(rows);
  for (int32_t& id : ids) id = static_cast<int32_t>(numbers.Below(kVocabulary));
  const typename Machine::template Array<uint16_t> table_there(table);
  const typename Machine::template Array<int32_t> ids_there(ids);
  const typename Machine::template Array<float> residual(
      std::vector<float>(rows * features, std::numeric_limits<float>::quiet_NaN()));
  machine.Embed(EmbeddingArgs{.ids = ids_there.data(),
                              .table = table_there.data(),
                              .residual = residual.data(),
                              .features = static_cast<int32_t>(features)},
                static_cast<int>(rows));
  const std::vector<float> got = residual.Download();
  for (size_t i = 0; i < got.size(); ++i) {
    const double expected = Bf16Value(table[static_cast<size_t>(ids[i / features]) * features + i % features]);
    if (const Mismatch mismatch = Differs("embedding", i, double{got[i]}, expected, 0)) return mismatch;
  }
  return std::nullopt;
}

struct NormShape {
  size_t rows = 1, features = 4096;
  bool adds = false;
  int threads = 256;
};

template <typename Machine>
Mismatch CheckNorm(Machine& machine, const NormShape& shape, uint64_t seed) {
  const size_t features = shape.features, count = shape.rows * features;
  Numbers numbers(seed);
  const std::vector<float> before = numbers.Floats(count);
  const std::vector<uint16_t> added = numbers.Bf16(count), weight = numbers.Bf16(features);
  const typename Machine::template Array<float> residual(before);
  const typename Machine::template Array<uint16_t> delta(added), weight_there(weight),
      y(std::vector<uint16_t>(count, kPoisonBf16));
  constexpr float kEpsilon = 1e-5F;
  machine.Norm(RmsNormArgs{.residual = residual.data(),
                           .delta = shape.adds ? delta.data() : nullptr,
                           .weight = weight_there.data(),
                           .y = y.data(),
                           .features = static_cast<int32_t>(features),
                           .epsilon = kEpsilon},
               static_cast<int>(shape.rows), shape.threads);
  const std::vector<float> after = residual.Download();
  const std::vector<uint16_t> got = y.Download();
  for (size_t row = 0; row < shape.rows; ++row) {
    const auto sum_at = [&](size_t i) { return double{before[i]} + (shape.adds ? Bf16Value(added[i]) : 0.0); };
    double squares = 0;
    for (size_t i = row * features; i < (row + 1) * features; ++i) squares += sum_at(i) * sum_at(i);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(features) + double{kEpsilon});
    for (size_t i = row * features; i < (row + 1) * features; ++i) {
      if (const Mismatch mismatch = Differs("residual", i, double{after[i]}, sum_at(i), 1e-6 * std::abs(sum_at(i))))
        return mismatch;
      const double expected = sum_at(i) * scale * Bf16Value(weight[i % features]);
      if (const Mismatch mismatch = DiffersBf16("norm", i, got[i], expected)) return mismatch;
    }
  }
  return std::nullopt;
}

struct RopeShape {
  int rows = 1, num_heads = 32, kv_heads = 8, block_size = 16;
  bool in_place = false;  // queries
};

// Row 1 of several has no slot.
template <typename Machine, int kHeadDim>
Mismatch CheckRope(Machine& machine, const RopeShape& shape, uint64_t seed) {
  constexpr size_t kHalf = kHeadDim / 2, kPositions = 40, kDim = kHeadDim;
  const auto rows = static_cast<size_t>(shape.rows), heads = static_cast<size_t>(shape.num_heads);
  const size_t kv_heads = static_cast<size_t>(shape.kv_heads), all_heads = heads + 2 * kv_heads;
  Numbers numbers(seed);
  const std::vector<uint16_t> qkv = numbers.Bf16(rows * all_heads * kDim);
  const std::vector<float> cosines = numbers.Floats(kPositions * kHalf), sines = numbers.Floats(kPositions * kHalf);
  PagedKv kv = {.num_blocks = 1 + shape.rows, .kv_heads = shape.kv_heads, .block_size = shape.block_size};
  kv.head_dim = kHeadDim;
  std::vector<int32_t> positions;
  std::vector<uint32_t> slots;
  for (size_t row = 0; row < rows; ++row) {
    const size_t slot =
        (rows - row) * static_cast<size_t>(shape.block_size) + numbers.Below(static_cast<size_t>(shape.block_size));
    positions.push_back(static_cast<int32_t>(numbers.Below(kPositions)));
    slots.push_back(row == 1 ? kNoSlot : static_cast<uint32_t>(slot));
  }
  const size_t cache_count = static_cast<size_t>(kv.num_blocks * kv.BlockElements());
  const typename Machine::template Array<uint16_t> qkv_there(qkv),
      cache(std::vector<uint16_t>(cache_count, kPoisonBf16)),
      apart(std::vector<uint16_t>(rows * heads * kDim, kPoisonBf16));
  const typename Machine::template Array<float> cosines_there(cosines), sines_there(sines);
  const typename Machine::template Array<int32_t> positions_there(positions);
  const typename Machine::template Array<uint32_t> slots_there(slots);
  const size_t q_pitch = (shape.in_place ? all_heads : heads) * kDim;
  kv.data = cache.data();
  machine.template Rope<kHeadDim>(RopeArgs{.qkv = qkv_there.data(),
                                           .q = shape.in_place ? qkv_there.data() : apart.data(),
                                           .q_pitch = static_cast<int64_t>(q_pitch),
                                           .cosines = cosines_there.data(),
                                           .sines = sines_there.data(),
                                           .positions = positions_there.data(),
                                           .slots = slots_there.data(),
                                           .kv = kv,
                                           .cache = cache.data(),
                                           .num_heads = shape.num_heads},
                                  shape.rows);
  const std::vector<uint16_t> q = shape.in_place ? qkv_there.Download() : apart.Download();
  std::vector<uint16_t> cached = cache.Download();
  const auto rotated = [&](size_t row, size_t head, size_t i) {
    const size_t first = (row * all_heads + head) * kDim + i % kHalf;
    const size_t entry = static_cast<size_t>(positions[row]) * kHalf + i % kHalf;
    const double a = Bf16Value(qkv[first]), b = Bf16Value(qkv[first + kHalf]);
    const double cosine = double{cosines[entry]}, sine = double{sines[entry]};
    return i < kHalf ? a * cosine - b * sine : b * cosine + a * sine;
  };
  for (size_t row = 0; row < rows; ++row) {
    for (size_t i = 0; i < heads * kDim; ++i)
      if (const Mismatch mismatch =
              DiffersBf16("query", row * heads * kDim + i, q[row * q_pitch + i], rotated(row, i / kDim, i % kDim)))
        return mismatch;
    if (slots[row] == kNoSlot) continue;
    for (size_t head = 0; head < kv_heads; ++head)
      for (size_t i = 0; i < kDim; ++i) {
        const auto block_size = static_cast<uint32_t>(shape.block_size);
        const auto at = [&](int value) -> uint16_t& {
          return cached[static_cast<size_t>(kv.Offset(slots[row] / block_size, value, static_cast<int>(head),
                                                      static_cast<int>(slots[row] % block_size))) +
                        i];
        };
        const size_t index = (row * kv_heads + head) * kDim + i;
        if (const Mismatch mismatch = DiffersBf16("key", index, at(0), rotated(row, heads + head, i))) return mismatch;
        if (at(1) != qkv[(row * all_heads + heads + kv_heads + head) * kDim + i])
          return "value " + std::to_string(index) + " is another";
        at(0) = at(1) = kPoisonBf16;  // what is left must be as it was
      }
  }
  if (std::any_of(cached.begin(), cached.end(), [](uint16_t bits) { return bits != kPoisonBf16; }))
    return "a slot was written that is no row's";
  return std::nullopt;
}

template <typename Machine>
Mismatch CheckActivation(Machine& machine, size_t rows, size_t features, uint64_t seed) {
  Numbers numbers(seed);
  const std::vector<uint16_t> gate_up = numbers.Bf16(rows * 2 * features, 4);
  const typename Machine::template Array<uint16_t> gate_up_there(gate_up),
      y(std::vector<uint16_t>(rows * features, kPoisonBf16));
  machine.Activate(
      ActivationArgs{.gate_up = gate_up_there.data(), .y = y.data(), .features = static_cast<int32_t>(features)},
      static_cast<int>(rows));
  const std::vector<uint16_t> got = y.Download();
  for (size_t i = 0; i < got.size(); ++i) {
    const size_t at = i / features * 2 * features + i % features;
    const double gate = Bf16Value(gate_up[at]), up = Bf16Value(gate_up[at + features]);
    if (const Mismatch mismatch = DiffersBf16("activation", i, got[i], gate / (1 + std::exp(-gate)) * up))
      return mismatch;
  }
  return std::nullopt;
}

struct ArgMaxShape {
  size_t rows = 1, vocabulary = 1024;
  int parts = 1;
};

// Logits of few different values, so that most rows have ties; every fifth is NaN, and in the last row all are. Twice,
// as the second launch begins with what the first has left.
template <typename Machine>
Mismatch CheckArgMax(Machine& machine, const ArgMaxShape& shape, uint64_t seed) {
  Numbers numbers(seed);
  std::vector<uint16_t> logits(shape.rows * shape.vocabulary);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = numbers.Below(5) == 0 || i / shape.vocabulary == shape.rows - 1
                    ? kPoisonBf16
                    : Bf16Of(static_cast<float>(numbers.Below(200)) - 250.0F);
  const typename Machine::template Array<uint16_t> logits_there(logits);
  const typename Machine::template Array<float> best(
      std::vector<float>(shape.rows * static_cast<size_t>(shape.parts) * 2));
  const typename Machine::template Array<int32_t> arrived(std::vector<int32_t>(shape.rows)),
      ids(std::vector<int32_t>(shape.rows, -7));
  for (int launch = 0; launch < 2; ++launch)
    machine.Choose(ArgMaxArgs{.logits = logits_there.data(),
                              .vocabulary = static_cast<int32_t>(shape.vocabulary),
                              .parts = shape.parts,
                              .best = best.data(),
                              .arrived = arrived.data(),
                              .ids = ids.data()},
                   static_cast<int>(shape.rows));
  if (arrived.Download() != std::vector<int32_t>(shape.rows)) return "arrivals are left behind";
  const std::vector<int32_t> got = ids.Download();
  for (size_t row = 0; row < shape.rows; ++row) {
    int32_t expected = -1;
    double largest = -std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < shape.vocabulary; ++i)
      if (const double logit = Bf16Value(logits[row * shape.vocabulary + i]); logit > largest) {
        largest = logit;
        expected = static_cast<int32_t>(i);
      }
    if (const Mismatch mismatch = Differs("row", row, got[row], expected, 0)) return mismatch;
  }
  return std::nullopt;
}

}  // namespace quire::cuda
