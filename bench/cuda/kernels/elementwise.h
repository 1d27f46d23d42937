// What stands between the products of a step: embedding, norms, rotary positions and the write to the paged cache, the
// gated activation, and the choice of the likeliest token.
//
// At a few rows none of these moves enough bytes to matter: what a kernel costs is the time from the end of its
// predecessor to its own end. So each lets its successor begin at once, loads what no predecessor writes (weights,
// positions, tables: whatever is there before a step's first kernel), and only then waits; after that all loads go out
// before the first result is computed. Sums are float in an order that depends on nothing but the shape of a row, so
// that a row's results have the same bits whatever else is in the batch.
#pragma once

#include <cstdint>

#include "kernels/paged_kv.h"
#include "simt/simt.h"

namespace quire::cuda {

constexpr int kVecValues = 8;  // bf16 values in 16 bytes: what a thread takes at a time

QUIRE_DEVICE void UnpackBf16(const simt::Vec4& packed, float (&values)[kVecValues]) {
  const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
  QUIRE_UNROLL
  for (int i = 0; i < 4; ++i) {
    values[2 * i] = simt::AsFloat(words[i] << 16);
    values[2 * i + 1] = simt::AsFloat(words[i] & 0xFFFF0000U);
  }
}
QUIRE_DEVICE simt::Vec4 PackVec(const float (&v)[kVecValues]) {
  return {simt::PackBf16(v[0], v[1]), simt::PackBf16(v[2], v[3]), simt::PackBf16(v[4], v[5]),
          simt::PackBf16(v[6], v[7])};
}
QUIRE_DEVICE void LoadFloats(const float* from, float (&values)[kVecValues]) {
  QUIRE_UNROLL
  for (int i = 0; i < kVecValues; i += 4) {
    const simt::Vec4 v = simt::Load16(from + i);
    values[i] = simt::AsFloat(v.x);
    values[i + 1] = simt::AsFloat(v.y);
    values[i + 2] = simt::AsFloat(v.z);
    values[i + 3] = simt::AsFloat(v.w);
  }
}
QUIRE_DEVICE void StoreFloats(float* to, const float (&v)[kVecValues]) {
  QUIRE_UNROLL
  for (int i = 0; i < kVecValues; i += 4)
    simt::Store16(to + i, {simt::AsBits(v[i]), simt::AsBits(v[i + 1]), simt::AsBits(v[i + 2]), simt::AsBits(v[i + 3])});
}

// Blocks of `threads` threads of which each takes one vector of a row.
constexpr int VecBlocks(int features, int threads) { return simt::CeilDiv(features / kVecValues, threads); }

constexpr int kRowThreads = 128;  // of the kernels whose rows are cut into such blocks: many small blocks start at once

// --- Embedding ---

struct EmbeddingArgs {
  const int32_t* ids = nullptr;     // [rows], each a row of the table
  const uint16_t* table = nullptr;  // bf16 [vocabulary, features]
  float* residual = nullptr;        // [rows, features]
  int32_t features = 0;             // a multiple of 8
};

// LAUNCH: grid (VecBlocks(features, kRowThreads), rows), kRowThreads threads. The ids may be the predecessor's.
QUIRE_DEVICE void GatherEmbedding(const EmbeddingArgs& args) {
  simt::DependencyLaunch();
  const int at = (simt::BlockX() * kRowThreads + simt::ThreadId()) * kVecValues;
  simt::DependencyWait();
  if (at >= args.features) return;
  float values[kVecValues];
  UnpackBf16(simt::Load16(args.table + int64_t{args.ids[simt::BlockY()]} * args.features + at), values);
  StoreFloats(args.residual + int64_t{simt::BlockY()} * args.features + at, values);
}

// --- Norm ---

struct RmsNormArgs {
  float* residual = nullptr;         // [rows, features]: the residual stream, to which delta is added
  const uint16_t* delta = nullptr;   // bf16 [rows, features]; null: nothing is added
  const uint16_t* weight = nullptr;  // bf16 [features]
  uint16_t* y = nullptr;             // bf16 [rows, features]: residual / sqrt(mean residual^2 + epsilon) * weight
  int32_t features = 0;              // a multiple of 8
  float epsilon = 0;
};

template <int kThreads>
constexpr int kRmsNormSharedBytes = kThreads / simt::kWarpSize* static_cast<int>(sizeof(float));

// The sum over a block's threads, to every one of them: a butterfly in the warps, another over these.
template <int kThreads>
QUIRE_DEVICE float SumOverBlock(float value) {
  constexpr int kWarps = kThreads / simt::kWarpSize;
  static_assert((kWarps & (kWarps - 1)) == 0 && kWarps <= simt::kWarpSize);
  auto* const sums = reinterpret_cast<float*>(simt::SharedMemory());
  const int lane = simt::ThreadId() % simt::kWarpSize;
  QUIRE_UNROLL
  for (int mask = simt::kWarpSize / 2; mask > 0; mask /= 2) value += simt::ShuffleXor(value, mask);
  if (lane == 0) sums[simt::ThreadId() / simt::kWarpSize] = value;
  simt::SyncThreads();
  value = sums[lane % kWarps];
  QUIRE_UNROLL
  for (int mask = kWarps / 2; mask > 0; mask /= 2) value += simt::ShuffleXor(value, mask);
  return value;
}

// LAUNCH: grid (rows), kThreads threads, kRmsNormSharedBytes of shared memory. REQUIRES: features <= 8 kThreads kVecs.
// The bits of y depend on kThreads: one value for every batch.
template <int kThreads, int kVecs>
QUIRE_DEVICE void RmsNorm(const RmsNormArgs& args) {
  simt::DependencyLaunch();
  const int64_t row = int64_t{simt::BlockX()} * args.features;
  const auto place = [](int i) { return (i * kThreads + simt::ThreadId()) * kVecValues; };
  simt::Vec4 weight[kVecs], delta[kVecs];
  QUIRE_UNROLL
  for (int i = 0; i < kVecs; ++i)
    if (place(i) < args.features) weight[i] = simt::Load16(args.weight + place(i));
  simt::DependencyWait();
  float x[kVecs][kVecValues] = {};
  QUIRE_UNROLL
  for (int i = 0; i < kVecs; ++i) {
    delta[i] = simt::Vec4{0, 0, 0, 0};
    if (place(i) >= args.features) continue;
    LoadFloats(args.residual + row + place(i), x[i]);
    if (args.delta != nullptr) delta[i] = simt::Load16(args.delta + row + place(i));
  }
  float sum = 0;
  QUIRE_UNROLL
  for (int i = 0; i < kVecs; ++i) {
    float added[kVecValues];
    UnpackBf16(delta[i], added);
    QUIRE_UNROLL
    for (int j = 0; j < kVecValues; ++j) {
      x[i][j] += added[j];
      sum = simt::FusedMultiplyAdd(x[i][j], x[i][j], sum);
    }
  }
  const float scale = simt::Rsqrt(SumOverBlock<kThreads>(sum) / static_cast<float>(args.features) + args.epsilon);
  QUIRE_UNROLL
  for (int i = 0; i < kVecs; ++i) {
    if (place(i) >= args.features) continue;
    float y[kVecValues];
    UnpackBf16(weight[i], y);
    QUIRE_UNROLL
    for (int j = 0; j < kVecValues; ++j) y[j] *= x[i][j] * scale;
    simt::Store16(args.y + row + place(i), PackVec(y));
    if (args.delta != nullptr) StoreFloats(args.residual + row + place(i), x[i]);
  }
}

// --- Rotary positions ---

constexpr uint32_t kNoSlot = 0xFFFFFFFFU;

// The cache's layout is kv's; its data is written through `cache`, which is kv.data.
struct RopeArgs {
  const uint16_t* qkv = nullptr;  // bf16 [rows, num_heads + 2 kv_heads, head_dim]: queries, keys, values
  // Rotated queries, [rows, num_heads, head_dim] with rows q_pitch elements apart: as attention wants them, or qkv.
  uint16_t* q = nullptr;
  int64_t q_pitch = 0;
  const float *cosines = nullptr, *sines = nullptr;  // [positions, head_dim / 2]
  // [rows], both written before the step's first kernel. A slot is block * block_size + slot within the block; the key
  // and value of a row with kNoSlot are not written.
  const int32_t* positions = nullptr;
  const uint32_t* slots = nullptr;
  PagedKv kv;
  uint16_t* cache = nullptr;
  int32_t num_heads = 0;
};

// Threads take a vector of a head's first half and the one that is rotated with it, of its second half.
template <int kHeadDim>
constexpr int RopeBlocks(int num_heads, int kv_heads) {
  return simt::CeilDiv((num_heads + 2 * kv_heads) * (kHeadDim / (2 * kVecValues)), kRowThreads);
}

// Value i of the first half and of the second are the two of rotation i.
QUIRE_DEVICE void Rotate(const float (&cosine)[kVecValues], const float (&sine)[kVecValues], simt::Vec4& first,
                         simt::Vec4& second) {
  float a[kVecValues], b[kVecValues];
  UnpackBf16(first, a);
  UnpackBf16(second, b);
  QUIRE_UNROLL
  for (int i = 0; i < kVecValues; ++i) {
    const float rotated = a[i] * cosine[i] - b[i] * sine[i];
    b[i] = b[i] * cosine[i] + a[i] * sine[i];
    a[i] = rotated;
  }
  first = PackVec(a);
  second = PackVec(b);
}

// LAUNCH: grid (RopeBlocks, rows), kRowThreads threads.
template <int kHeadDim>
QUIRE_DEVICE void RopeAndWrite(const RopeArgs& args) {
  constexpr int kHalf = kHeadDim / 2, kVecsOfHalf = kHalf / kVecValues;
  simt::DependencyLaunch();
  const int index = simt::BlockX() * kRowThreads + simt::ThreadId(), row = simt::BlockY();
  const int head = index / kVecsOfHalf, at = index % kVecsOfHalf * kVecValues;
  const int num_rotated = args.num_heads + args.kv.kv_heads, num_all = num_rotated + args.kv.kv_heads;
  float cosine[kVecValues], sine[kVecValues];
  if (head < num_rotated) {
    const int64_t entry = int64_t{args.positions[row]} * kHalf + at;
    LoadFloats(args.cosines + entry, cosine);
    LoadFloats(args.sines + entry, sine);
  }
  uint16_t* to = nullptr;
  if (head < args.num_heads) {
    to = args.q + row * args.q_pitch + head * kHeadDim + at;
  } else if (const uint32_t slot = args.slots[row]; slot != kNoSlot && head < num_all) {
    const auto block_size = static_cast<uint32_t>(args.kv.block_size);
    const int value = head < num_rotated ? 0 : 1;
    to = args.cache + at +
         args.kv.Offset(slot / block_size, value, head - (value == 0 ? args.num_heads : num_rotated),
                        static_cast<int>(slot % block_size));
  }
  simt::DependencyWait();
  if (to == nullptr) return;
  const uint16_t* const from = args.qkv + (int64_t{row} * num_all + head) * kHeadDim + at;
  simt::Vec4 first = simt::Load16(from), second = simt::Load16(from + kHalf);
  if (head < num_rotated) Rotate(cosine, sine, first, second);
  simt::Store16(to, first);
  simt::Store16(to + kHalf, second);
}

// --- Activation ---

struct ActivationArgs {
  const uint16_t* gate_up = nullptr;  // bf16 [rows, 2, features]: gate, then up
  uint16_t* y = nullptr;              // bf16 [rows, features]: silu(gate) * up
  int32_t features = 0;               // a multiple of 8
};

// LAUNCH: grid (VecBlocks(features, kRowThreads), rows), kRowThreads threads.
QUIRE_DEVICE void GatedActivation(const ActivationArgs& args) {
  constexpr float kLog2E = 1.4426950408889634F;
  simt::DependencyLaunch();
  const int at = (simt::BlockX() * kRowThreads + simt::ThreadId()) * kVecValues;
  simt::DependencyWait();
  if (at >= args.features) return;
  const uint16_t* const from = args.gate_up + int64_t{simt::BlockY()} * 2 * args.features + at;
  float gate[kVecValues], up[kVecValues];
  UnpackBf16(simt::Load16(from), gate);
  UnpackBf16(simt::Load16(from + args.features), up);
  QUIRE_UNROLL
  for (int i = 0; i < kVecValues; ++i) up[i] *= gate[i] * simt::Reciprocal(1 + simt::Exp2(-gate[i] * kLog2E));
  simt::Store16(args.y + int64_t{simt::BlockY()} * args.features + at, PackVec(up));
}

// --- The likeliest token ---

struct ArgMaxArgs {
  const uint16_t* logits = nullptr;  // bf16 [rows, vocabulary]
  int32_t vocabulary = 0;            // a multiple of 8
  int32_t parts = 1;                 // of a row: as many blocks
  float* best = nullptr;             // [rows, parts, 2]: what the blocks of a row leave for the last of them
  int32_t* arrived = nullptr;        // [rows] zeros, left as zeros
  int32_t* ids = nullptr;            // [rows]: the lowest of the largest; -1 where every logit is NaN
};

constexpr int kArgMaxThreads = 256;
constexpr int kArgMaxWarps = kArgMaxThreads / simt::kWarpSize;
constexpr int kArgMaxSharedBytes = kArgMaxWarps * static_cast<int>(sizeof(simt::Float2));

struct Candidate {
  float logit = -__builtin_huge_valf();
  int32_t id = 0x7FFFFFFF;  // none

  // Comparisons with NaN are false: it never wins.
  QUIRE_DEVICE void Meet(float other, int32_t other_id) {
    if (!(other > logit || (other == logit && other_id < id))) return;
    logit = other;
    id = other_id;
  }
  QUIRE_DEVICE void Meet(const simt::Float2& packed) { Meet(packed.x, static_cast<int32_t>(simt::AsBits(packed.y))); }
  QUIRE_DEVICE simt::Float2 Packed() const { return {logit, simt::AsFloat(static_cast<uint32_t>(id))}; }
  QUIRE_DEVICE void MeetWarp() {
    QUIRE_UNROLL
    for (int mask = simt::kWarpSize / 2; mask > 0; mask /= 2) {
      const int lane = (simt::ThreadId() % simt::kWarpSize) ^ mask;
      const float other = simt::AsFloat(simt::Shuffle(simt::AsBits(logit), lane));
      Meet(other, static_cast<int32_t>(simt::Shuffle(static_cast<uint32_t>(id), lane)));
    }
  }
};

// Of this thread's vectors of a row, which the blocks and threads of the row take in turn.
QUIRE_DEVICE Candidate BestOfThread(const ArgMaxArgs& args) {
  const uint16_t* const logits = args.logits + int64_t{simt::BlockY()} * args.vocabulary;
  Candidate best;
  QUIRE_UNROLL_BY_8
  for (int at = (simt::BlockX() * kArgMaxThreads + simt::ThreadId()) * kVecValues; at < args.vocabulary;
       at += args.parts * kArgMaxThreads * kVecValues) {
    float values[kVecValues];
    UnpackBf16(simt::Load16(logits + at), values);
    QUIRE_UNROLL
    for (int i = 0; i < kVecValues; ++i) best.Meet(values[i], at + i);
  }
  return best;
}

// LAUNCH: grid (parts, rows), kArgMaxThreads threads, kArgMaxSharedBytes of shared memory.
QUIRE_DEVICE void ArgMax(const ArgMaxArgs& args) {
  simt::DependencyLaunch();
  simt::DependencyWait();
  auto* const shared = reinterpret_cast<simt::Float2*>(simt::SharedMemory());
  const int lane = simt::ThreadId() % simt::kWarpSize, row = simt::BlockY();
  Candidate best = BestOfThread(args);
  best.MeetWarp();
  if (lane == 0) shared[simt::ThreadId() / simt::kWarpSize] = best.Packed();
  simt::SyncThreads();
  if (simt::ThreadId() >= simt::kWarpSize) return;
  best.Meet(shared[lane % kArgMaxWarps]);
  best.MeetWarp();
  // The row's last block to arrive sees what all of them stored.
  uint32_t is_last = 0;
  float* const bests = args.best + int64_t{row} * args.parts * 2;
  if (lane == 0) {
    *reinterpret_cast<simt::Float2*>(bests + simt::BlockX() * 2) = best.Packed();
    simt::MemoryFence();
    is_last = simt::AtomicAdd(args.arrived + row, 1) == args.parts - 1;
    simt::MemoryFence();
  }
  if (simt::Shuffle(is_last, 0) == 0) return;
  for (int part = lane; part < args.parts; part += simt::kWarpSize) best.Meet(simt::LoadCoherent8(bests + part * 2));
  best.MeetWarp();
  if (lane != 0) return;
  args.ids[row] = best.id == Candidate{}.id ? -1 : best.id;
  args.arrived[row] = 0;
}

}  // namespace quire::cuda
