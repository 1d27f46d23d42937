// The "pre_tokenizer" of tokenizer.json: cuts a text into the pieces that the model sees one by one. Immutable: any
// thread.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "text/json_node.h"
#include "text/pieces.h"

namespace quire::text {

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual Status Apply(Pieces& pieces) const = 0;
};

struct PreTokenizerChain {
  std::vector<std::unique_ptr<const PreTokenizer>> steps;
  // The last step would write the pieces' bytes in the byte-level alphabet: left to the model, which then gets bytes.
  bool leaves_bytes = false;
};

// Sequences are flattened. `prefix_space` overrides add_prefix_space of every ByteLevel step. kUnimplemented names a
// type that is not offered.
Result<PreTokenizerChain> ParsePreTokenizers(const JsonNode& node, std::optional<bool> prefix_space = std::nullopt);

// Byte-level: each pattern, in Oniguruma's dialect, cuts the pieces of the one before it into its matches and what is
// between them; then the pieces are spelled in the byte-level alphabet, and `spelled_patterns` cut on.
Result<PreTokenizerChain> SplitByPatterns(std::span<const std::string_view> patterns,
                                          std::span<const std::string_view> spelled_patterns = {});

}  // namespace quire::text
