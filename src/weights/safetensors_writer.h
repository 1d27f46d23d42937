// Writes a safetensors file: the tensors that are promised first, then their bytes in that order. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/new_file.h"
#include "quire/result.h"
#include "tensor/dtype.h"
#include "weights/stored_tensor.h"

namespace quire {

struct NewTensor {
  std::string name;
  std::string dtype;  // as safetensors calls it: "BF16"
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
};

// A tensor of floats of that type and shape.
NewTensor NewFloatTensor(std::string name, DType dtype, std::vector<int64_t> shape);

class SafetensorsWriter {
 public:
  // The file gets its name at the end; `replaces` as NewFile.
  static Result<SafetensorsWriter> Create(const std::string& path, std::vector<NewTensor> tensors, bool replaces);

  // The next bytes, of one tensor behind the other, in whichever pieces.
  Status Append(std::span<const std::byte> bytes);
  // All of a tensor as `dtype`: its own, kF32, or kBf16, rounded to nearest even.
  Status AppendTensor(const StoredTensor& tensor, DType dtype);
  // REQUIRES: all bytes that were promised have come.
  Status Finish();

 private:
  SafetensorsWriter(NewFile file, uint64_t bytes_left) : file_(std::move(file)), bytes_left_(bytes_left) {}

  NewFile file_;
  uint64_t bytes_left_;
};

}  // namespace quire
