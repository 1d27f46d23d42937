#include "sampling/host_sampler.h"

#include <atomic>

namespace quire {
namespace {

class TaskRun {
 public:
  TaskRun(const float* logits, size_t vocab_size, SamplerScratch& scratch, SampleTask& task)
      : logits_(logits), vocab_size_(vocab_size), scratch_(scratch), task_(task) {}

  void Run() {
    task_.num_outcomes = 0;
    switch (task_.kind) {
      case SampleTask::Kind::kDraw:
        return Draw();
      case SampleTask::Kind::kVerify:
        return Verify();
      case SampleTask::Kind::kScore:
        task_.num_outcomes = ScoreToken(Row(0), task_.target, scratch_, Top(0), task_.outcomes[0]) ? 1 : 0;
        return;
      case SampleTask::Kind::kBest:
        return Best();
    }
  }

 private:
  std::span<const float> Row(uint32_t i) const { return {logits_ + (task_.row + i) * vocab_size_, vocab_size_}; }
  std::span<SampledCandidate> Top(uint32_t i) const {
    const size_t count = task_.top.size() / task_.outcomes.size();
    return task_.top.subspan(i * count, count);
  }

  // What draw i asks that sees `accepted` behind what is counted.
  SampleRequest RequestOf(uint32_t i, std::span<const int32_t> accepted) const {
    const uint32_t position = task_.key.position + static_cast<uint32_t>(accepted.size());
    return {.params = task_.params,
            .counts = task_.counts,
            .accepted_drafts = accepted,
            .masked_tokens = task_.MaskedAt(position),
            .allowed_mask = task_.allowed.mask(i),
            .key = {.seed = task_.key.seed, .stream = task_.key.stream, .position = position}};
  }

  void Draw() {
    for (uint32_t i = 0; i < task_.outcomes.size(); ++i) {
      SampleRequest request = RequestOf(0, {});
      request.key.stream += i;
      if (!SampleToken(Row(0), request, scratch_, Top(i), task_.outcomes[i])) return;  // nor could the others
    }
    task_.num_outcomes = static_cast<uint32_t>(task_.outcomes.size());
  }

  // Each draft that is what was drawn counts for the next draw, as it would without drafts.
  void Verify() {
    for (uint32_t i = 0; i < task_.outcomes.size(); ++i) {
      const SampleRequest request = RequestOf(i, task_.drafts.first(i));
      if (!SampleToken(Row(i), request, scratch_, Top(i), task_.outcomes[i])) return;
      ++task_.num_outcomes;
      if (i == task_.drafts.size() || task_.drafts[i] != task_.outcomes[i].token) return;
    }
  }

  void Best() {
    const auto take = [this](const SampleOutcome& outcome) { task_.outcomes[task_.num_outcomes++] = outcome; };
    BestTokens(Row(0), task_.MaskedAt(task_.key.position), task_.outcomes.size(), scratch_, take);
  }

  const float* logits_;
  const size_t vocab_size_;
  SamplerScratch& scratch_;
  SampleTask& task_;
};

}  // namespace

void RunSampleTask(const float* logits, size_t vocab_size, SamplerScratch& scratch, SampleTask& task) {
  TaskRun(logits, vocab_size, scratch, task).Run();
}

HostSampler::HostSampler(int num_threads, int32_t vocab_size) : vocab_size_(static_cast<size_t>(vocab_size)) {
  if (vocab_size == 0) return;
  scratch_.assign(static_cast<size_t>(num_threads), SamplerScratch(vocab_size));
}

size_t HostSampler::Bytes(int num_threads, int32_t vocab_size) {
  return vocab_size == 0 ? 0 : static_cast<size_t>(num_threads) * SamplerScratch::Bytes(vocab_size);
}

void HostSampler::Run(ThreadTeam& team, const float* logits, std::span<SampleTask> tasks) {
  std::atomic<size_t> next = 0;
  const auto work = [&](int thread) {
    SamplerScratch& scratch = scratch_[static_cast<size_t>(thread)];
    for (size_t i = next.fetch_add(1); i < tasks.size(); i = next.fetch_add(1)) {
      RunSampleTask(logits, vocab_size_, scratch, tasks[i]);
    }
  };
  if (tasks.size() == 1) return work(0);
  team.Run(work);
}

}  // namespace quire
