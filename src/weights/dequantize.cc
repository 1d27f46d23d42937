#include "weights/dequantize.h"

#include <array>
#include <cstring>

#include "weights/dequantize_blocks.h"

namespace quire {
namespace {

using BlockDecoder = void (*)(const uint8_t* block, float* to);

void DecodeF32(const uint8_t* block, float* to) { std::memcpy(to, block, sizeof(float)); }
void DecodeF16(const uint8_t* block, float* to) { *to = dequantize::LoadHalf(block); }
void DecodeBf16(const uint8_t* block, float* to) {
  *to = ToFloat(static_cast<Bf16>(dequantize::LoadUnaligned<uint16_t>(block)));
}
void DecodeF64(const uint8_t* block, float* to) { *to = static_cast<float>(dequantize::LoadUnaligned<double>(block)); }

// In the order of the kinds.
constexpr std::array<BlockDecoder, kNumWeightKinds> kDecoders = {
    DecodeF32,         DecodeF16,          DecodeBf16,       DecodeF64,         dequantize::Q4_0,   dequantize::Q4_1,
    dequantize::Q5_0,  dequantize::Q5_1,   dequantize::Q8_0, dequantize::Q2_K,  dequantize::Q3_K,   dequantize::Q4_K,
    dequantize::Q5_K,  dequantize::Q6_K,   dequantize::Iq1S, dequantize::Iq1M,  dequantize::Iq2Xxs, dequantize::Iq2Xs,
    dequantize::Iq2S,  dequantize::Iq3Xxs, dequantize::Iq3S, dequantize::Iq4Nl, dequantize::Iq4Xs,  dequantize::Mxfp4,
    dequantize::Tq1_0, dequantize::Tq2_0,
};

}  // namespace

void Dequantize(WeightKind kind, const std::byte* blocks, int64_t num_blocks, float* to) {
  const WeightFormat& format = FormatOf(kind);
  const BlockDecoder decode = kDecoders[static_cast<size_t>(kind)];
  const auto* block = reinterpret_cast<const uint8_t*>(blocks);
  for (int64_t i = 0; i < num_blocks; ++i) {
    decode(block, to);
    block += format.block_bytes;
    to += format.block_size;
  }
}

}  // namespace quire
