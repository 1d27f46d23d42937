// GgufVocabulary: what a GGUF file says of its tokenizer, the keys tokenizer.ggml.* of its metadata, as a plain value
// that knows nothing of files. Tokenizer::FromGguf makes a tokenizer of it.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

// Of a token, by its number in the file.
enum class GgufTokenType : int64_t {
  kNormal = 1,
  kUnknown = 2,      // stands for what has no token
  kControl = 3,      // special: recognised in a text, not shown in an answer
  kUserDefined = 4,  // recognised in a text before anything else
  kUnused = 5,       // fills the table up: as if it were not there
  kByte = 6,         // "<0x0A>"
};

// The views are of the file's metadata. What is absent is empty.
struct GgufVocabulary {
  std::string_view model;                // tokenizer.ggml.model: which kind it is
  std::string_view pre;                  // tokenizer.ggml.pre: how byte-level BPE cuts a text, by name
  std::string_view name;                 // general.name: special tokens of Phi-3 take the white space behind them
  std::vector<std::string_view> tokens;  // by id
  std::vector<double> scores;            // by id
  std::vector<int64_t> token_types;      // by id: GgufTokenType; other values count as kUnused
  std::vector<std::string_view> merges;  // "left right", those that apply first in front

  // tokenizer.ggml.bos_token_id and so on. One that is not an id of the vocabulary counts as absent.
  std::optional<int64_t> bos_id;
  std::optional<int64_t> eos_id;
  std::optional<int64_t> eot_id;  // ends a turn
  std::optional<int64_t> eom_id;  // ends a message
  std::optional<int64_t> unknown_id;
  std::optional<int64_t> separator_id;
  std::optional<int64_t> padding_id;
  std::optional<int64_t> cls_id;
  std::optional<int64_t> mask_id;

  std::optional<bool> add_bos;           // tokenizer.ggml.add_bos_token
  std::optional<bool> add_eos;           // tokenizer.ggml.add_eos_token
  std::optional<bool> add_space_prefix;  // tokenizer.ggml.add_space_prefix
};

}  // namespace quire
