// The order in which a sum of products of bf16 values is formed. Instruction sets that multiply such values themselves
// leave no choice, and no instruction set has both orders at speed: so there are two, each with a scalar reference.
// A header without functions, for files that are compiled for one instruction set.
#pragma once

#include <stdint.h>

namespace quire {

enum class Bf16Order : uint8_t {
  kPairs,  // ref::DotBf16Pairs: vector instructions
  kTiles,  // ref::DotBf16Tiles: the tile unit (AMX)
};

}  // namespace quire
