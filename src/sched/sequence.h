// Sequence: the mutable progress of one stream of tokens. SequenceGroup: the streams of one request, which enter and
// leave memory together. Today every group has one sequence.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kv/block_table.h"
#include "kv/prefix_index.h"
#include "sched/ids.h"
#include "sched/request.h"

namespace quire {

struct Sequence {
  Sequence(BlockTable table, const std::vector<int32_t>& prompt) : tokens(prompt), table(std::move(table)) {}

  uint32_t num_tokens() const { return static_cast<uint32_t>(tokens.size()); }
  // Rows until the next token can be drawn: 1 while decoding, more while a prompt is computed.
  uint32_t num_remaining() const { return num_tokens() - num_computed; }

  uint32_t stream = 0;          // part of its random key
  std::vector<int32_t> tokens;  // prompt and output
  uint32_t num_computed = 0;    // tokens whose keys and values are in the cache, as of the last result
  uint32_t num_scored = 0;      // prompt tokens whose log-probabilities have been delivered, after the first
  std::optional<SlotId> slot;   // while it runs
  BlockTable table;
  PrefixChain chain;  // as far as its blocks are indexed
};

struct SequenceGroup {
  SequenceGroup(Request request, uint64_t order, BlockTable table);

  Sequence& sequence() { return sequences.front(); }
  const Sequence& sequence() const { return sequences.front(); }
  uint32_t num_prompt_tokens() const { return static_cast<uint32_t>(request.prompt.size()); }
  bool wants_prompt_scores() const {
    return request.params.prompt_logprobs.has_value() && sequence().num_scored + 1 < num_prompt_tokens();
  }
  PrefixScope scope() const { return {request.cache_salt, request.adapter_id}; }

  const Request request;
  const uint64_t order;  // of arrival
  std::vector<Sequence> sequences;
};

}  // namespace quire
