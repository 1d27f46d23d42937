#include "kv/shrinking_run_testing.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <utility>

#include "base/check.h"

namespace quire {
namespace {

// Memory that a process shares with its children.
class SharedProgress {
 public:
  SharedProgress() {
    void* memory = mmap(nullptr, sizeof(RunProgress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    QUIRE_CHECK(memory != MAP_FAILED);
    progress_ = new (memory) RunProgress;
  }
  ~SharedProgress() { munmap(progress_, sizeof(RunProgress)); }
  SharedProgress(const SharedProgress&) = delete;
  SharedProgress& operator=(const SharedProgress&) = delete;
  RunProgress& operator*() { return *progress_; }

 private:
  RunProgress* progress_;
};

void Silence() {
  const int nowhere = open("/dev/null", O_WRONLY);
  dup2(nowhere, STDOUT_FILENO);
  dup2(nowhere, STDERR_FILENO);
}

bool Succeeds(std::span<const Operation> operations, const RunOperations& run, RunProgress& progress) {
  std::string problem;
  try {
    problem = run(operations, progress);
  } catch (const std::exception& exception) {
    problem = exception.what();
  }
  if (!problem.empty()) std::fprintf(stderr, "%s\n", problem.c_str());
  return problem.empty();
}

}  // namespace

RunOutcome RunInChild(std::span<const Operation> operations, const RunOperations& run, bool quiet) {
  SharedProgress progress;
  std::fflush(nullptr);
  const pid_t child = fork();
  QUIRE_CHECK_GE(child, 0);
  if (child == 0) {
    if (quiet) Silence();
    _exit(Succeeds(operations, run, *progress) ? 0 : 1);
  }
  int status = 0;
  QUIRE_CHECK_EQ(waitpid(child, &status, 0), child);
  return {.failed = !WIFEXITED(status) || WEXITSTATUS(status) != 0, .progress = *progress};
}

namespace {

class Shrinker {
 public:
  Shrinker(std::vector<Operation> operations, const RunOperations& run)
      : operations_(std::move(operations)), run_(run) {
    QUIRE_CHECK(Adopt(operations_), "the operations do not fail");
  }

  // ddmin: removes ranges, halving their size.
  void RemoveOperations() {
    for (size_t size = operations_.size(); size > 0; size = size == 1 ? 0 : (size + 1) / 2) {
      for (size_t begin = 0; begin < operations_.size();) {
        std::vector<Operation> rest = operations_;
        const auto first = rest.begin() + static_cast<ptrdiff_t>(begin);
        rest.erase(first, first + static_cast<ptrdiff_t>(std::min(size, rest.size() - begin)));
        if (!Adopt(std::move(rest))) begin += size;
      }
    }
  }

  // Small seeds make operations meet the same things, so that more of them can go.
  void SimplifySeeds() {
    constexpr uint32_t kNumSeeds = 32;
    for (size_t i = 0; i < operations_.size(); ++i) {
      for (uint32_t seed = 0; seed < std::min(kNumSeeds, operations_[i].seed); ++seed) {
        std::vector<Operation> simpler = operations_;
        simpler[i].seed = seed;
        if (Adopt(std::move(simpler))) break;
      }
    }
  }

  const std::vector<Operation>& operations() const { return operations_; }

 private:
  // Nothing after the operation that killed a run matters.
  bool Adopt(std::vector<Operation> candidate) {
    const RunOutcome outcome = RunInChild(candidate, run_, true);
    if (!outcome.failed) return false;
    candidate.resize(std::min<size_t>(candidate.size(), outcome.progress.num_begun));
    operations_ = std::move(candidate);
    return true;
  }

  std::vector<Operation> operations_;
  const RunOperations& run_;
};

}  // namespace

std::vector<Operation> Shrink(std::vector<Operation> operations, const RunOperations& run) {
  Shrinker shrinker(std::move(operations), run);
  for (size_t before = 0; before != shrinker.operations().size();) {
    before = shrinker.operations().size();
    shrinker.RemoveOperations();
    shrinker.SimplifySeeds();
  }
  for (size_t before = 0; before != shrinker.operations().size();) {
    before = shrinker.operations().size();
    shrinker.RemoveOperations();
  }
  return shrinker.operations();
}

}  // namespace quire
