#include "sched/sequence.h"

#include <algorithm>
#include <utility>

namespace quire {

SequenceGroup::SequenceGroup(Request request_in, uint64_t order, uint32_t max_total_tokens, uint32_t max_width,
                             SequenceKv kv)
    : request(std::move(request_in)),
      order(order),
      num_streams(static_cast<uint32_t>(request.params.num_streams())),
      max_width(max_width),
      width(std::min(num_streams, max_width)),
      max_total_tokens(max_total_tokens),
      has_forked(width == 1 && !request.params.use_beam_search) {
  sequences.emplace_back(std::move(kv), request.prompt);
  if (!request.params.use_beam_search) return;
  beams.emplace(request, max_total_tokens);
  hypotheses.resize(width);
}

void SequenceGroup::BeginNextPart(SequenceKv kv) {
  first_stream += width;
  width = std::min(max_width, num_streams - first_stream);
  has_forked = width == 1;
  sequences.clear();
  sequences.emplace_back(std::move(kv), request.prompt).stream = first_stream;
}

Sequence* SequenceGroup::Find(SeatId seat) {
  for (Sequence& sequence : sequences) {
    if (sequence.seat == seat) return &sequence;
  }
  return nullptr;
}

bool SequenceGroup::Decodes() const {
  if (state != State::kRunning) return false;
  return is_beams() ? std::ranges::all_of(sequences, &Sequence::decodes)
                    : std::ranges::any_of(sequences, &Sequence::decodes);
}

uint32_t SequenceGroup::NumCommonTokens() const {
  uint32_t num_common = front().num_tokens();
  for (const Sequence& sequence : sequences) {
    if (&sequence != &front()) num_common = std::min(num_common, NumSharedTokens(sequence));
  }
  return num_common;
}

uint32_t SequenceGroup::NumSharedTokens(const Sequence& sequence) const {
  const auto differs = std::ranges::mismatch(front().tokens, sequence.tokens);
  return std::min(static_cast<uint32_t>(differs.in2 - sequence.tokens.begin()), sequence.num_tokens() - 1);
}

bool SequenceGroup::AwaitsJoin() const {
  return std::ranges::any_of(sequences, [](const Sequence& sequence) { return !sequence.seat; });
}

void SequenceGroup::ExpectGrowth(Sequence& sequence, std::span<const KvGroup> kv_groups, uint32_t block_size) const {
  constexpr uint32_t kMaxExpected = 4096;
  const uint32_t num_total = std::min(max_total_tokens, sequence.num_tokens() + kMaxExpected);
  sequence.tokens.reserve(num_total);
  for (uint32_t i = 0; i < sequence.kv.num_groups(); ++i) {
    const uint32_t window = kv_groups[i].window;
    const uint32_t num_slots = window == 0 ? num_total : std::min(num_total, window + 2 * block_size);
    sequence.kv.table(i).ExpectHeld(BlocksForTokens(num_slots, block_size));
  }
}

}  // namespace quire
