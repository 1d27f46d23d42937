// The "normalizer" of tokenizer.json: rewrites a text before it is cut into pieces. Immutable: any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/json_node.h"

namespace quire::text {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // REQUIRES: `text` is valid UTF-8, and stays so.
  virtual Status Apply(std::string& text) const = 0;
};

// All of them in order. An error if together they make the text larger than MaxGrownBytes (text/pattern.h).
Status Normalize(const std::vector<std::unique_ptr<const Normalizer>>& steps, std::string& text);

// The steps of `node`, with sequences flattened. kUnimplemented names a type that is not offered.
Result<std::vector<std::unique_ptr<const Normalizer>>> ParseNormalizers(const JsonNode& node);

}  // namespace quire::text
