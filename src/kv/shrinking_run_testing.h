// Model-based tests as lists of operations that are plain values: a list is run in a process of its own, so that a
// failed CHECK or a sanitizer's report is a failure like any other, and a list that fails is shrunk to a short one that
// still fails. Test code only; one thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace quire {

// What an operation does beyond its kind is a function of its seed and of the state it meets; so any part of a list is
// a list.
struct Operation {
  uint8_t kind = 0;
  uint32_t seed = 0;
};

// What a run tells the process that started it, in shared memory.
struct RunProgress {
  uint64_t num_begun = 0;                // operations: when a run dies, the last of them killed it
  std::array<uint64_t, 32> counts = {};  // for the run's own use
};

// Runs the operations on a fresh state. Returns what went wrong, or "".
using RunOperations = std::function<std::string(std::span<const Operation>, RunProgress&)>;

struct RunOutcome {
  bool failed = false;
  RunProgress progress;
};

// `quiet`: what the run prints is thrown away.
RunOutcome RunInChild(std::span<const Operation> operations, const RunOperations& run, bool quiet);

// Removes and simplifies operations as long as the rest still fails (delta debugging): without any one of them it
// passes. REQUIRES: `operations` fails.
std::vector<Operation> Shrink(std::vector<Operation> operations, const RunOperations& run);

}  // namespace quire
