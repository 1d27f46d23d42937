// What the model's tests share: scratch directories, safetensors files made by hand, golden models, and a runner of one
// or more sequences over a paged cache.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "base/env_testing.h"
#include "model/model.h"
#include "tensor/buffer.h"

namespace quire::testing {

// A directory of its own under the system's temporary one, removed at the end.
class ScratchDirectory : public TemporaryDirectory {
 public:
  std::string File(const std::string& name) const { return path() + "/" + name; }
  void Write(const std::string& name, const std::string& contents) const;
};

std::string ReadWholeFile(const std::string& path);

struct RawTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::string data;
};

// The eight bytes of length, then the header as it is given, then the data.
std::string SafetensorsBytes(const std::string& header, const std::string& data);
std::string SafetensorsBytes(const std::vector<RawTensor>& tensors);
std::vector<RawTensor> ReadRawTensors(const std::string& path);

// tests/goldens/models/<name>, and the directory of the shared test data.
std::string GoldenModelDirectory(const std::string& name);
std::string TestDataDirectory();

struct CacheLayout {
  int32_t block_size = 16;
  DType dtype = DType::kF32;
  uint64_t shuffle_seed = 0;  // of the physical order of the blocks; 0: in order
};

// Runs sequences through a model, as a runner would, with exactly the scratch that the model asks for.
class SequenceRunner {
 public:
  SequenceRunner(Backend& backend, const Model& model, const CacheLayout& layout, int32_t num_sequences,
                 int32_t max_length, int32_t max_rows);

  // One forward pass over the next tokens of several sequences: {sequence, tokens}. Logits of every row, in order.
  std::vector<float> Step(const std::vector<std::pair<int32_t, std::span<const int32_t>>>& parts);
  std::vector<float> Feed(std::span<const int32_t> tokens) { return Step({{0, tokens}}); }

 private:
  struct Sequence {
    std::vector<uint32_t> blocks;  // [groups, table_stride_]
    int32_t length = 0;
  };

  Backend& backend_;
  const Model& model_;
  std::vector<Sequence> sequences_;
  int32_t table_stride_ = 0;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<Batch> batch_;
  Arena arena_;
};

// All rows at once; then `count` tokens, each the best of the row before, one at a time.
struct GreedyResult {
  std::vector<float> prompt_logits;  // [prompt, vocab]
  std::vector<float> step_logits;    // [count - 1, vocab]: after each token but the last
  std::vector<int32_t> ids;
};
GreedyResult RunGreedy(Backend& backend, const Model& model, const CacheLayout& layout,
                       const std::vector<int32_t>& prompt, int32_t count);

int32_t ArgMax(std::span<const float> values);

}  // namespace quire::testing
