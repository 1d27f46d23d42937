// ModelAsGguf: a Hugging Face directory of any family as a GGUF file, for tests.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "model/model_config.h"
#include "model/model_testing.h"
#include "weights/gguf_testing.h"

namespace quire::testing {

class ModelAsGguf {
 public:
  explicit ModelAsGguf(const std::string& directory);

  const ModelConfig& config() const { return config_; }
  GgufBuilder& builder() { return builder_; }
  // Of the directory, in its order of rows.
  const std::vector<RawTensor>& tensors() const { return tensors_; }

  void WriteTensorsAsTheyAre();
  // Matrices become random blocks, of each kind of 32 elements in turn; tensors() the floats that these mean.
  void WriteTensorsInBlocks();

 private:
  void Write(const RawTensor& tensor, uint32_t type, const std::string& data);
  void AddNumber(const char* name, int64_t value);
  void AddFloat(const char* name, float value);
  void WriteConfig();
  void WriteRope();

  ModelConfig config_;
  std::string architecture_;
  bool pairs_rows_ = false;
  std::vector<RawTensor> tensors_;
  std::map<std::string, std::string> names_;
  GgufBuilder builder_;
};

}  // namespace quire::testing
