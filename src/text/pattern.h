// What tokenizer.json calls a pattern, {"String": "..."} or {"Regex": "..."}, and its replacement in a text.
// Immutable: any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/json_node.h"
#include "text/regex.h"

namespace quire::text {

// What a text of that many bytes may become where a tokenizer's file says how it is rewritten: far more than any
// script's longest compatibility forms need.
constexpr size_t MaxGrownBytes(size_t text_bytes) { return 4096 + 16 * text_bytes; }

class Pattern {
 public:
  static Result<Pattern> Parse(const JsonNode& node);
  explicit Pattern(Regex regex) : regex_(std::move(regex)) {}

  // `text` with every match replaced. The content is taken literally. An error if the text becomes larger than
  // MaxGrownBytes.
  Result<std::string> ReplaceAll(std::string_view text, std::string_view content) const;
  Regex TakeRegex() && { return std::move(regex_); }

 private:
  std::optional<std::string> literal_;  // set for a String pattern: no regex engine needed to replace it
  Regex regex_;
};

}  // namespace quire::text
