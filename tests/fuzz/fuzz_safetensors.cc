// A directory of safetensors: headers, and every tensor read. The input is model.safetensors; one that begins with "{"
// is model.safetensors.index.json and, behind a byte of zero, one of the files it may name.
#include "fuzz_files.h"
#include "fuzz_tensors.h"

namespace quire::testing {

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static MemoryDirectory directory{"model.safetensors", "model.safetensors.index.json", "a.safetensors"};
  const std::string_view input = TextOf(data, size);
  if (input.starts_with('{')) {
    const size_t end = std::min(input.find('\0'), input.size());
    directory.Write({"", input.substr(0, end), input.substr(std::min(end + 1, input.size()))});
  } else {
    directory.Write({input});
  }
  const auto source = OpenSafetensors(directory.path());
  if (source.ok()) ReadEveryTensor(**source);
  return 0;
}

}  // namespace quire::testing
