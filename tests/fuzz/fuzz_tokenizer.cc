// A tokenizer's directory: loaded, and texts put through what loads. The input holds, with bytes of zero between them,
// tokenizer.json, a text, tokenizer_config.json, special_tokens_map.json, added_tokens.json, config.json.
#include "fuzz_files.h"
#include "fuzz_text.h"

namespace quire::testing {

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static MemoryDirectory directory{"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                   "added_tokens.json", "config.json"};
  std::vector<std::string_view> parts = CutAtZeros(TextOf(data, size));
  std::string_view text;
  if (parts.size() > 1) {
    text = parts[1];
    parts.erase(parts.begin() + 1);
  }
  directory.Write(parts);
  const auto tokenizer = Tokenizer::Load(directory.path());
  if (tokenizer.ok()) CheckTokenizer(**tokenizer, text);
  return 0;
}

}  // namespace quire::testing
