// What the two directions of `quire convert` share.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "quire/result.h"
#include "tensor/dtype.h"

namespace quire {

class Tokenizer;
struct OpenedModel;

struct ConvertOptions {
  // What weights in blocks and codes are decoded to: kF32, which is exact, or kBf16.
  DType dtype = DType::kBf16;
  bool converts_floats = false;  // floats, too; else they keep their type and their bits
};

// The tensors that the model is computed with, all of which have the shapes that it asks for: fails as loading would.
// Others change no answer; they are named in the log, as when a model is loaded. Reads headers alone.
Result<std::set<std::string, std::less<>>> FindUsedTensors(const std::string& path, const OpenedModel& model);

// Whether both encode and decode a set of texts alike that tokenizers are known to cut differently. The error shows
// the first text where they do not.
Status CompareTokenizers(const Tokenizer& original, const Tokenizer& converted);

}  // namespace quire
