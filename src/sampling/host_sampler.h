// HostSampler: sample tasks on the host's threads. One object per batch, one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_team.h"
#include "sampling/sample_task.h"
#include "sampling/sampler.h"

namespace quire {

// logits [rows, vocab], each row as it is.
void RunSampleTask(const float* logits, size_t vocab_size, SamplerScratch& scratch, SampleTask& task);

class HostSampler {
 public:
  // vocab_size 0: never run.
  HostSampler(int num_threads, int32_t vocab_size);
  static size_t Bytes(int num_threads, int32_t vocab_size);

  // Whichever thread runs a task, its outcome is the same. REQUIRES: the team has no more threads than were said.
  void Run(ThreadTeam& team, const float* logits, std::span<SampleTask> tasks);

 private:
  const size_t vocab_size_;
  std::vector<SamplerScratch> scratch_;  // [threads]
};

}  // namespace quire
