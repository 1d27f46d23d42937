// cuda_probe: checks the kernels on a card and measures them against the card's own ceilings.
//
//   cuda_probe PART [PART ...] [--check-only] [--seed N] [--copy-bandwidth BYTES/S] [--matrix-rate FLOP/S]
//
// Parts: ceilings, simt, decode, prefill, prefill-mma, linear, step, all. `ceilings` prints the two rates that the
// other parts take as options; without the options each part measures them anew. Exit status: 0 when every check held,
// 1 when one did not or the card failed, 2 on bad usage.
#include <charconv>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "probe/device.h"

namespace quire::probe {
namespace {

constexpr const char* kUsage =
    "usage: cuda_probe PART [PART ...] [--check-only] [--seed N] [--copy-bandwidth BYTES/S] [--matrix-rate FLOP/S]\n"
    "parts: ceilings, simt, decode, prefill, prefill-mma, linear, step, all";

struct Part {
  const char* name;
  bool (*run)(const Options& options);
  bool needs_sm90a;  // its code exists for that target alone
};

constexpr Part kParts[] = {
    {"ceilings", RunCeilings, false}, {"simt", RunSimtCheck, true},           {"decode", RunDecodeAttention, false},
    {"linear", RunLinear, true},      {"prefill", RunPrefillAttention, true}, {"prefill-mma", RunPrefillMma, false},
    {"step", RunStep, false},
};

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <typename T>
T ParseNumber(std::string_view option, std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < T{})
    throw UsageError(std::string(option) + ": '" + std::string(text) + "' is not a number");
  return value;
}

struct Arguments {
  std::vector<Part> parts;
  Options options;
};

void AddParts(std::string_view name, std::vector<Part>& parts) {
  const size_t before = parts.size();
  for (const Part& part : kParts)
    if (name == "all" || name == part.name) parts.push_back(part);
  if (parts.size() == before) throw UsageError("'" + std::string(name) + "' is no part");
}

void SetOption(std::string_view name, std::string_view value, Options& options) {
  if (name == "--seed")
    options.seed = ParseNumber<uint64_t>(name, value);
  else if (name == "--copy-bandwidth")
    options.copy_bandwidth = ParseNumber<double>(name, value);
  else if (name == "--matrix-rate")
    options.matrix_rate = ParseNumber<double>(name, value);
  else
    throw UsageError("'" + std::string(name) + "' is no option");
}

Arguments ParseArguments(const std::vector<std::string_view>& words) {
  Arguments arguments;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--check-only") {
      arguments.options.check_only = true;
    } else if (!words[i].starts_with("--")) {
      AddParts(words[i], arguments.parts);
    } else if (i + 1 == words.size()) {
      throw UsageError("'" + std::string(words[i]) + "' is no option, or lacks its value");
    } else {
      SetOption(words[i], words[i + 1], arguments.options);
      ++i;
    }
  }
  if (arguments.parts.empty()) throw UsageError("no part is named");
  return arguments;
}

Card PrintCard() {
  const Card card = DescribeCard();
  std::printf("card: %s, sm_%d%d, %d multiprocessors, L2 %.0f MB, memory %.1f GB (%.1f GB free)\n", card.name.c_str(),
              card.major, card.minor, card.multiprocessors, static_cast<double>(card.l2_bytes) * 1e-6,
              static_cast<double>(card.memory_bytes) * 1e-9, static_cast<double>(card.free_bytes) * 1e-9);
  return card;
}

bool RunPart(const Part& part, const Card& card, const Options& options) {
  if (part.needs_sm90a && (card.major != 9 || card.minor != 0)) {
    std::printf("%s: skipped: this card is sm_%d%d\n", part.name, card.major, card.minor);
    return true;
  }
  bool passed = false;
  try {
    passed = part.run(options);
  } catch (const std::exception& error) {
    std::printf("%s: %s\n", part.name, error.what());
  }
  std::printf("%s: %s\n", part.name, passed ? "PASS" : "FAIL");
  return passed;
}

int Run(const std::vector<std::string_view>& words) {
  try {
    const Arguments arguments = ParseArguments(words);
    const Card card = PrintCard();
    bool passed = true;
    for (const Part& part : arguments.parts) passed = RunPart(part, card, arguments.options) && passed;
    return passed ? 0 : 1;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "cuda_probe: %s\n%s\n", error.what(), kUsage);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cuda_probe: %s\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace quire::probe

int main(int argc, char** argv) {
  // Lines leave at once, into a pipe too: what was measured is kept when what follows hangs.
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  return quire::probe::Run({argv + 1, argv + argc});
}
