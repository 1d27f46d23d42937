// What the two directions of `quire convert` share.
#pragma once

#include "quire/result.h"
#include "tensor/dtype.h"

namespace quire {

class Tokenizer;

struct ConvertOptions {
  // What weights in blocks and codes are decoded to: kF32, which is exact, or kBf16.
  DType dtype = DType::kBf16;
  bool converts_floats = false;  // floats, too; else they keep their type and their bits
};

// Whether both encode and decode a set of texts alike that tokenizers are known to cut differently. The error shows
// the first text where they do not.
Status CompareTokenizers(const Tokenizer& original, const Tokenizer& converted);

}  // namespace quire
