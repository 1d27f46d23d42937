#include "sched/admitter.h"

#include <algorithm>

namespace quire {

bool Admitter::HasRoomFor(const SequenceGroup& group) const {
  return parts_.residency.HasSeats(group) &&
         parts_.residency.CanEnter(group, parts_.space.cache().NoMatch(group.scope()));
}

// Scores need the rows that a hit would save.
bool Admitter::ReadsPrefixCache(const SequenceGroup& group) const {
  return parts_.space.keeps_prefixes() && group.request.reads_prefix_cache && !group.wants_prompt_scores();
}

// Matching a long prompt costs more than a step should spend on who cannot run.
bool Admitter::IsPutOff(const SequenceGroup& group) const {
  return !parts_.residency.running().empty() && parts_.space.num_available() <= group.num_available_then &&
         parts_.builder.number() < group.asked_again_at_step;
}

// What the others are to share with the first one must not be beyond a window that it has behind it.
std::span<const int32_t> Admitter::TokensToMatch(const SequenceGroup& group) const {
  const std::span<const int32_t> tokens = group.front().tokens;
  if (!parts_.space.gives_back() || group.sequences.size() == 1) return tokens;
  return tokens.first(std::min<size_t>(tokens.size(), group.NumCommonTokens() + 1));
}

Admitter::Outcome Admitter::TryAdmit(SequenceGroup& group) {
  constexpr uint64_t kStepsBetweenTries = 16;
  if (!parts_.residency.HasSeats(group) || IsPutOff(group)) return Outcome::kNoRoom;
  KvManager& cache = parts_.space.cache();
  const bool reads = ReadsPrefixCache(group);
  const KvManager::Match match = reads ? cache.MatchPrefix(group.scope(), TokensToMatch(group), parts_.disk.index())
                                       : cache.NoMatch(group.scope());
  if (reads && parts_.config.batching == Batching::kContinuous &&
      PrefixIsUnderWay(group, match.num_blocks * parts_.config.block_size)) {
    return Outcome::kPrefixUnderWay;
  }
  if (!parts_.residency.CanEnter(group, match)) {
    if (reads) {
      group.num_available_then = parts_.space.num_available();
      group.asked_again_at_step = parts_.builder.number() + kStepsBetweenTries;
    }
    return Outcome::kNoRoom;
  }
  group.asked_again_at_step = 0;
  Admit(group, match);
  return Outcome::kAdmitted;
}

void Admitter::Admit(SequenceGroup& group, const KvManager::Match& match) {
  parts_.waiting.Remove(group);
  parts_.disk.Touch(match);
  const bool is_first = group.rank == SequenceGroup::kNotAdmitted;
  if (is_first) group.rank = parts_.config.fair ? next_rank_++ : group.order;
  parts_.residency.Enter(group, match);
  const Sequence& front = group.front();
  if (is_first) parts_.waiting.Charge(group, front.num_remaining());
  if (match.loads.empty()) return ReportAdmission(group);
  PrefixLoads::Start(group, match.loads);
}

void Admitter::ReportLoad(SequenceGroup* group, const PendingTransfer& transfer, bool completed) {
  const PrefixLoads::Progress progress = loads_.Report(group, transfer, completed);
  if (progress == PrefixLoads::Progress::kDone) ReportAdmission(*group);
  if (progress == PrefixLoads::Progress::kFailed) parts_.residency.EnterAnew(*group);
}

void Admitter::ReportAdmission(const SequenceGroup& group) {
  const Sequence& front = group.front();
  if (ReadsPrefixCache(group)) {
    counters_.query_tokens += front.num_tokens();
    counters_.hit_tokens += front.kv.num_computed;
    hit_rate_.Add(1, front.num_tokens(), front.kv.num_computed);
  }
  parts_.events.Emit(SchedulerEvent::Kind::kAdmitted, group).num_cached_tokens = front.kv.num_computed;
}

// Whether a running prompt will soon have computed more of this one's prefix than is indexed now.
bool Admitter::PrefixIsUnderWay(const SequenceGroup& group, uint32_t num_matched_tokens) const {
  const std::vector<int32_t>& tokens = group.front().tokens;
  const uint32_t worth_waiting = num_matched_tokens + parts_.config.block_size;
  if (tokens.size() <= worth_waiting) return false;
  return std::ranges::any_of(parts_.residency.running(), [&](const SequenceGroup* other) {
    const Sequence& sequence = other->front();
    return sequence.num_tokens() >= worth_waiting && sequence.kv.num_computed < worth_waiting &&
           other->request.writes_prefix_cache && other->request.adapter_id == group.request.adapter_id &&
           other->request.cache_salt == group.request.cache_salt &&
           std::equal(tokens.begin(), tokens.begin() + worth_waiting, sequence.tokens.begin());
  });
}

}  // namespace quire
