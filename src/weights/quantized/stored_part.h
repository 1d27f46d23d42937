// StoredPart: one of the tensors that make up a quantised weight, where it lies in its file, and reading of it as a
// whole. What is read is never larger than four times its bytes in the file. Values and pure functions; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/readable_file.h"
#include "quire/result.h"

namespace quire {

struct StoredPart {
  const ReadableFile* file = nullptr;
  std::string name;
  std::string_view dtype;  // as safetensors calls it: "I32"; lives as long as the file's source
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // of its data in the file

  int64_t size() const;    // elements
  uint64_t bytes() const;  // 0: of a storage type that no quantised weight has
  // "<file>: tensor "<name>"", which messages begin with.
  std::string Where() const;
};

using StoredParts = std::map<std::string, StoredPart, std::less<>>;  // by name

// F32, F16, BF16, F8_E4M3, F8_E5M2, exponents (F8_E8M0, and U8, as which they are stored, too), all exactly.
Result<std::vector<float>> ReadFloats(const StoredPart& part);
// I8, U8, I32, I64; a value beyond 32 bits is an error.
Result<std::vector<int32_t>> ReadIntegers(const StoredPart& part);
// I32, as words.
Result<std::vector<uint32_t>> ReadWords(const StoredPart& part);
// Of one byte each.
Result<std::string> ReadText(const StoredPart& part);

}  // namespace quire
