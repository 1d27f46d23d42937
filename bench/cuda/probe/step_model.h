// A model of Llama-3-8B's shape on a card, of random weights, for a decode step: its weights and cache, and what the
// kernels of the step hand to each other.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "kernels/elementwise.h"
#include "probe/device.h"
#include "probe/linear_launch.h"

namespace quire::probe {

constexpr int kHidden = 4096, kHeads = 32, kKvHeads = 8, kHeadDim = 128, kFeedForward = 14336, kVocabulary = 128256;
constexpr int kQkvWidth = (kHeads + 2 * kKvHeads) * kHeadDim;
constexpr int kLayers = 32;
constexpr int kBlockSize = 16, kMaxContext = 8192;
constexpr int kMaxRows = 256;

enum class Kind : uint8_t { kNone, kAttention, kNorms, kRope, kActivation, kQkv, kO, kGateUp, kDown, kHead };

struct Product {
  Kind kind;
  int n, k;

  int64_t Weights() const { return int64_t{n} * k; }
};
constexpr Product kProducts[] = {{Kind::kQkv, kQkvWidth, kHidden},
                                 {Kind::kO, kHidden, kHidden},
                                 {Kind::kGateUp, 2 * kFeedForward, kHidden},
                                 {Kind::kDown, kHidden, kFeedForward}};
constexpr Product kHeadProduct = {Kind::kHead, kVocabulary, kHidden};

inline int64_t WeightsOfLayer() {
  int64_t sum = 0;
  for (const Product& product : kProducts) sum += product.Weights();
  return sum;
}

inline double WeightBytes(WeightFormat format, int64_t weights) {
  const int group = cuda::GroupSize(format);
  const double bits = cuda::WeightBits(format) + (group == 0 ? 0.0 : 16.0 / group);
  return static_cast<double>(weights) * bits / 8;
}

constexpr int64_t kCacheElementsOfToken = int64_t{2} * kKvHeads * kHeadDim;  // in a layer

// Weights, the cache and the tables: what a step only reads, but for the cache's last positions. All formats share the
// memory of the weights. The rows of the head serve as embeddings, too.
class Model {
 public:
  // `most_tokens`: in the cache, a multiple of kBlockSize.
  Model(int num_layers, int64_t most_tokens, uint64_t seed)
      : num_layers_(num_layers),
        num_blocks_(static_cast<int32_t>(most_tokens / kBlockSize)),
        weights_(static_cast<size_t>(WeightsOfLayer() * num_layers)),
        group_scales_(weights_.count() / 128),
        head_(static_cast<size_t>(kHeadProduct.Weights())),
        norm_weight_(kHidden),
        row_scales_(std::span<const float>(std::vector<float>(2 * kFeedForward, kScale / 74))),  // of -128 to 127
        cache_(static_cast<size_t>(kCacheElementsOfToken * most_tokens * num_layers)),
        blocks_(static_cast<size_t>(num_blocks_)) {
    FillNormalBf16(weights_.data(), weights_.count(), kScale, seed);
    FillNormalBf16(group_scales_.data(), group_scales_.count(), kScale / 4.6F, seed + 1);  // of -8 to 7
    FillNormalBf16(head_.data(), head_.count(), kScale, seed + 2);
    FillNormalBf16(norm_weight_.data(), norm_weight_.count(), 1, seed + 3);
    FillNormalBf16(cache_.data(), cache_.count(), 1, seed + 4);
    std::iota(blocks_.begin(), blocks_.end(), 0U);
    std::shuffle(blocks_.begin(), blocks_.end(), std::mt19937(static_cast<uint32_t>(seed)));
    tables_ = DeviceArray<uint32_t>(std::span<const uint32_t>(blocks_));
    FillRotations();
  }

  // Makes the weights codes of int8 and int4, all values alike: bf16 numbers would make fewer bits switch.
  void FillCodes(uint64_t seed) { FillRandomBytes(weights_.data(), weights_.bytes() / 2, seed); }

  int num_layers() const { return num_layers_; }
  int64_t most_tokens() const { return int64_t{num_blocks_} * kBlockSize; }
  const uint16_t* embeddings() const { return head_.data(); }
  const uint16_t* norm_weight() const { return norm_weight_.data(); }
  const float* cosines() const { return cosines_.data(); }
  const float* sines() const { return sines_.data(); }
  // Of every layer alike: blocks in the order in which sequences take them.
  const uint32_t* tables() const { return tables_.data(); }
  uint32_t Block(size_t index) const { return blocks_[index]; }

  uint16_t* CacheData(int layer) const { return cache_.data() + kCacheElementsOfToken * most_tokens() * layer; }
  cuda::PagedKv Cache(int layer) const { return {CacheData(layer), num_blocks_, kKvHeads, kBlockSize, kHeadDim}; }

  // Weights, sizes and scales of a layer's product, or of the head.
  LinearArgs Args(WeightFormat format, int layer, const Product& product) const {
    LinearArgs args = {.row_scales = row_scales_.data(),
                       .n = product.n,
                       .k = product.k,
                       .x_pitch = product.k,
                       .splits = cuda::LinearSplits(product.n, product.k),
                       .ahead_bytes = kLinearAheadBytes};
    if (product.kind == Kind::kHead) {
      args.weights = head_.data();
      return args;
    }
    int64_t first = WeightsOfLayer() * layer;
    for (const Product& before : kProducts) {
      if (before.kind == product.kind) break;
      first += before.Weights();
    }
    args.weights = reinterpret_cast<const char*>(weights_.data()) + first * cuda::WeightBits(format) / 8;
    if (const int group = cuda::GroupSize(format); group != 0) args.group_scales = group_scales_.data() + first / group;
    return args;
  }

 private:
  static constexpr float kScale = 0.02F;  // the spread of the weights, whatever their format

  void FillRotations() {
    constexpr int kHalf = kHeadDim / 2;
    constexpr double kBase = 500000;
    std::vector<float> cosines, sines;
    for (int position = 0; position < kMaxContext; ++position)
      for (int i = 0; i < kHalf; ++i) {
        const double angle = position * std::pow(kBase, -static_cast<double>(i) / kHalf);
        cosines.push_back(static_cast<float>(std::cos(angle)));
        sines.push_back(static_cast<float>(std::sin(angle)));
      }
    cosines_ = DeviceArray<float>(std::span<const float>(cosines));
    sines_ = DeviceArray<float>(std::span<const float>(sines));
  }

  int num_layers_;
  int32_t num_blocks_;
  DeviceArray<uint16_t> weights_, group_scales_, head_, norm_weight_;
  DeviceArray<float> row_scales_;
  DeviceArray<uint16_t> cache_;
  std::vector<uint32_t> blocks_;
  DeviceArray<uint32_t> tables_;
  DeviceArray<float> cosines_, sines_;
};

// What the kernels of a step hand to each other.
struct Activations {
  static constexpr size_t kRows = kMaxRows;
  static constexpr size_t kScratchRows = kQkvWidth;  // the widest product whose blocks share k
  static constexpr size_t kScratchSplits = 8;
  static constexpr int kMostParts = 64;  // of a row of logits

  explicit Activations(uint64_t seed) {
    std::mt19937 random(static_cast<uint32_t>(seed));
    std::vector<int32_t> tokens(kRows);
    for (int32_t& id : tokens) id = static_cast<int32_t>(random() % kVocabulary);
    ids.Upload(tokens);
    Check(cudaMemset(arrived.data(), 0, arrived.bytes()), "cudaMemset");
    Check(cudaMemset(best_arrived.data(), 0, best_arrived.bytes()), "cudaMemset");
    Check(cudaDeviceSynchronize(), "cudaMemset");
  }

  DeviceArray<int32_t> ids{kRows}, chosen{kRows};
  DeviceArray<float> residual{kRows * kHidden};
  DeviceArray<uint16_t> normed{kRows * kHidden}, qkv{kRows * kQkvWidth}, q{kRows * kHidden}, attended{kRows * kHidden},
      delta{kRows * kHidden}, gate_up{kRows * 2 * kFeedForward}, activated{kRows * kFeedForward},
      logits{kRows * kVocabulary};
  DeviceArray<float> partial{kScratchSplits * cuda::kMaxTokens * kScratchRows};
  DeviceArray<int32_t> arrived{size_t{kVocabulary} / cuda::kBlockRows * 2};
  DeviceArray<float> best{kRows * kMostParts * 2};
  DeviceArray<int32_t> best_arrived{kRows};
};

}  // namespace quire::probe
