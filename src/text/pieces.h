// A text on its way through the pre-tokenizers: one string and the pieces of it that remain, in order.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"

namespace quire::text {

struct Span {
  size_t begin = 0;
  size_t end = 0;
  bool operator==(const Span&) const = default;
};

struct Pieces {
  std::string text;          // valid UTF-8
  std::vector<Span> spans;   // none empty, ascending
  bool starts_input = true;  // text[0] is the first character of what the caller encodes

  std::string_view operator[](size_t i) const { return At(spans[i]); }
  std::string_view At(Span span) const { return std::string_view(text).substr(span.begin, span.end - span.begin); }
};

// What becomes of a delimiter (names of tokenizer.json).
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// A part of a piece: a match of the pattern or what lies between two.
struct SplitPart {
  Span span;
  bool is_match = false;
};

// Appends the pieces that `parts`, which cover one piece from left to right, become; empty ones are dropped.
void AppendSplit(const std::vector<SplitPart>& parts, SplitBehavior behavior, std::vector<Span>& out);

// The parts of `text` (at offset `base`) where single characters match `is_delimiter`.
std::vector<SplitPart> PartsByCharacter(std::string_view text, size_t base, FunctionRef<bool(char32_t)> is_delimiter);

}  // namespace quire::text
