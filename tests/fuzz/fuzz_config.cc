// A model's config: config.json and, behind a byte of zero, generation_config.json.
#include "fuzz_files.h"
#include "model/arch_spec.h"
#include "model/model_config.h"

namespace quire::testing {

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static MemoryDirectory directory{"config.json", "generation_config.json"};
  directory.Write(CutAtZeros(TextOf(data, size)));
  const auto config = LoadModelConfig(directory.path());
  if (!config.ok()) return 0;
  QUIRE_CHECK(FindArchSpec(config->architecture) != nullptr);
  QUIRE_CHECK(LayerWindows(*config).size() == static_cast<size_t>(config->num_layers));
  QUIRE_CHECK(LongestContext(*config) >= config->max_position);
  return 0;
}

}  // namespace quire::testing
