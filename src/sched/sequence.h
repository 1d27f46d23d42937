// Sequence: the mutable progress of one stream of tokens. SequenceGroup: the streams of one request, which enter and
// leave memory together: one sequence while the prompt is computed, then as many as it samples, or as many as the beams
// of its search.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "kv/kv_group.h"
#include "kv/kv_manager.h"
#include "kv/sequence_kv.h"
#include "kv/swap_space.h"
#include "sched/beam_search.h"
#include "sched/ids.h"
#include "sched/request.h"
#include "sched/step_plan.h"

namespace quire {

struct Sequence {
  Sequence(SequenceKv kv_in, const std::vector<int32_t>& prompt)
      : tokens(prompt), num_blocks_sent(0, std::vector<uint32_t>(kv_in.num_groups() - 1)), kv(std::move(kv_in)) {}

  uint32_t num_tokens() const { return static_cast<uint32_t>(tokens.size()); }
  // Rows until the next token can be drawn: 1 while decoding, more while a prompt is computed.
  uint32_t num_remaining() const { return num_tokens() - kv.num_computed; }
  bool decodes() const { return seat.has_value() && num_remaining() == 1; }

  // What every plan looks at comes first, and lies together.
  uint32_t stream = 0;                    // part of its random key
  std::optional<SeatId> seat;             // while it runs
  std::vector<int32_t> tokens;            // prompt and output
  InlineFirst<uint32_t> num_blocks_sent;  // by KV group, of the table: the runner knows them
  SequenceKv kv;
  std::optional<double>
      draft_acceptance;  // how likely a draft is right, the one before it being so; once one was tried
  // Of a beam: its output so far, which becomes events when the search ends.
  std::vector<TokenOutput> outputs;
  std::vector<Candidate> candidates;
};

// A beam that has ended.
struct Hypothesis {
  std::vector<TokenOutput> tokens;
  std::vector<Candidate> candidates;
  float score = 0;
  FinishReason reason = FinishReason::kNone;
  int32_t stop_token = -1;
};

struct SequenceGroup {
  enum class State : uint8_t {
    kWaiting,   // holds no memory
    kLoading,   // holds its memory; part of its prefix is on its way from the disk
    kRunning,   //
    kSwapped,   // waits in swap space
    kResuming,  // on its way back from there
  };

  // max_width: streams that may run side by side, at least 1; all beams of a search.
  SequenceGroup(Request request, uint64_t order, uint32_t max_total_tokens, uint32_t max_width, SequenceKv kv);
  SequenceGroup(const SequenceGroup&) = delete;
  SequenceGroup& operator=(const SequenceGroup&) = delete;

  // The one that computes the prompt, and whatever else the others share, first.
  Sequence& front() { return sequences.front(); }
  const Sequence& front() const { return sequences.front(); }
  uint32_t num_prompt_tokens() const { return static_cast<uint32_t>(request.prompt.size()); }
  bool wants_prompt_scores() const {
    return request.params.prompt_logprobs.has_value() && num_scored + 1 < num_prompt_tokens();
  }
  PrefixScope scope() const { return {request.cache_salt, request.adapter_id}; }
  bool is_beams() const { return beams.has_value(); }
  // That it may come to occupy.
  uint32_t num_seats() const { return has_forked ? static_cast<uint32_t>(sequences.size()) : width; }
  // Rows of `sequence` that may be computed before its next token: a beam's last one waits for all other beams.
  uint32_t NumCatchUp(const Sequence& sequence) const {
    return sequence.num_remaining() - (is_beams() && has_forked ? 1 : 0);
  }
  bool has_next_part() const { return first_stream + width < num_streams; }
  // The part has ended: the streams of the next one begin at the prompt. REQUIRES: has_next_part; it holds no memory.
  void BeginNextPart(SequenceKv kv);
  // Whether its next tokens can be drawn by a row each: of any of its streams, of all of its beams.
  bool Decodes() const;
  // So that decoding allocates nothing on the heap, up to a bound on what an unusually long answer may set aside.
  void ExpectGrowth(Sequence& sequence, std::span<const KvGroup> kv_groups, uint32_t block_size) const;
  // Tokens with which the sequence begins as the first one does, leaving one to compute.
  uint32_t NumSharedTokens(const Sequence& sequence) const;
  // Those of all others: what the first one has in common with whoever it has least in common with.
  uint32_t NumCommonTokens() const;
  // Some of its sequences have yet to join the first one, and to share what that has.
  bool AwaitsJoin() const;
  Sequence* Find(SeatId seat);

  const Request request;
  static constexpr uint64_t kNotAdmitted = 0xFFFFFFFFFFFFFFFF;

  const uint64_t order;  // of arrival
  // Among those who run or have run: by arrival, or, where clients share fairly, by first admission, so that a request
  // of a client that came later is not always the victim.
  uint64_t rank = kNotAdmitted;
  const uint32_t num_streams;  // in all
  const uint32_t max_width;    // of these, side by side
  // Those of the part that runs: the others come in parts of their own, once it has ended.
  uint32_t first_stream = 0;
  uint32_t width;
  const uint32_t max_total_tokens;
  State state = State::kWaiting;
  uint64_t waits_since_step = 0;  // to be computed: the step when it came, or lost its memory
  bool has_forked = false;
  // Found no room when so many blocks were available: not asked again before there are more, or before this step.
  uint32_t num_available_then = 0;
  uint64_t asked_again_at_step = 0;
  std::vector<Sequence> sequences;
  uint32_t num_scored = 0;  // prompt tokens whose log-probabilities have been delivered, after the first

  std::optional<BeamSearch> beams;
  std::vector<Hypothesis> hypotheses;  // [width], by place
  std::vector<SequenceKv> reserved;    // of streams to come, where memory is reserved at admission
  SwappedTables swapped;
  // Transfers of this stay in memory (or out of it) that have not been reported.
  uint32_t epoch = 0;
  uint32_t num_transfers = 0;
  bool transfer_failed = false;
  // Blocks of the front sequence that come from the disk.
  std::vector<KvManager::Load> to_load;
  uint32_t num_loads_issued = 0;
  std::vector<bool> loaded;
};

using SequenceGroups = std::unordered_map<RequestId, std::unique_ptr<SequenceGroup>>;

}  // namespace quire
