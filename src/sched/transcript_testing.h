// Transcript: all that a client is told about a request, gathered from the scheduler's events. Two runs that tell the
// same are equal to the bit: what the tests of schedules compare.
#pragma once

#include <map>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "sched/scheduler.h"

namespace quire {

// A token that was drawn or scored, with what a client would see of it.
struct Spoken {
  int32_t token = 0;
  float logprob = 0;
  uint32_t rank = 0;
  std::vector<Candidate> candidates;
  friend bool operator==(const Spoken&, const Spoken&) = default;
};

inline Spoken MakeSpoken(const TokenOutput& output, std::span<const Candidate> candidates) {
  const auto own = candidates.subspan(output.first_candidate, output.num_candidates);
  return {output.token, output.logprob, output.rank, {own.begin(), own.end()}};
}

struct Transcript {
  struct Stream {
    std::vector<Spoken> output;
    FinishReason reason = FinishReason::kNone;
    int32_t stop_token = -1;
    float score = 0;
    friend bool operator==(const Stream&, const Stream&) = default;
    std::vector<int32_t> ids() const {
      std::vector<int32_t> ids;
      for (const Spoken& spoken : output) ids.push_back(spoken.token);
      return ids;
    }
  };
  std::map<uint32_t, Stream> streams;
  std::vector<Spoken> prompt_scores;
  std::string error;
  uint32_t error_position = 0;
  bool ended = false;
  friend bool operator==(const Transcript&, const Transcript&) = default;

  // What does not depend on the request alone (admissions, preemptions) is left out. False: the event does not
  // continue what was told before.
  bool Take(const SchedulerEvent& event, size_t num_prompt_tokens) {
    if (ended) return false;
    switch (event.kind) {
      case SchedulerEvent::Kind::kAdmitted:
      case SchedulerEvent::Kind::kPreempted:
        return true;
      case SchedulerEvent::Kind::kPromptLogprobs: {
        const bool continues = event.position == prompt_scores.size() + 1;
        for (const TokenOutput& token : event.tokens) prompt_scores.push_back(MakeSpoken(token, event.candidates));
        return continues;
      }
      case SchedulerEvent::Kind::kTokens: {
        Stream& stream = streams[event.stream];
        const bool continues = event.position == num_prompt_tokens + stream.output.size() &&
                               stream.reason == FinishReason::kNone && !event.tokens.empty();
        for (const TokenOutput& token : event.tokens) stream.output.push_back(MakeSpoken(token, event.candidates));
        return continues;
      }
      case SchedulerEvent::Kind::kFinished: {
        Stream& stream = streams[event.stream];
        stream.reason = event.reason;
        stream.stop_token = event.stop_token;
        stream.score = event.score;
        ended = event.last;
        return event.reason != FinishReason::kNone;
      }
      case SchedulerEvent::Kind::kFailed:
        error = std::string(event.error);
        error_position = event.position;
        ended = true;
        return true;
    }
    return false;
  }
};

inline void PrintTo(const Transcript& transcript, std::ostream* out) {
  for (const auto& [number, stream] : transcript.streams) {
    *out << "stream " << number << " (" << FinishReasonName(stream.reason) << ", score " << stream.score << "):";
    for (const Spoken& spoken : stream.output) *out << ' ' << spoken.token;
    *out << "; ";
  }
  *out << transcript.prompt_scores.size() << " scores; " << transcript.error << (transcript.ended ? "" : "not ended");
}

}  // namespace quire
