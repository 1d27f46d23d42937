// A model's config: config.json and, behind a byte of zero, generation_config.json.
#include "fuzz_files.h"
#include "model/arch_spec.h"
#include "model/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quire::testing;  // NOLINT(google-build-using-namespace)
  static MemoryDirectory directory{"config.json", "generation_config.json"};
  directory.Write(CutAtZeros(TextOf(data, size)));
  const auto config = quire::LoadModelConfig(directory.path());
  if (!config.ok()) return 0;
  QUIRE_CHECK(quire::FindArchSpec(config->architecture) != nullptr);
  QUIRE_CHECK(quire::LayerWindows(*config).size() == static_cast<size_t>(config->num_layers));
  QUIRE_CHECK(quire::LongestContext(*config) >= config->max_position);
  return 0;
}
