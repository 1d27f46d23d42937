#include "llm/memory_plan.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "kv/kv_space.h"
#include "sched/scheduler_config.h"

namespace quire {
namespace {

struct Unit {
  const char* name;
  double bytes;
};
constexpr Unit kUnits[] = {{"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}, {"kB", 1e3}, {"MB", 1e6},
                           {"GB", 1e9},     {"TB", 1e12},    {"k", 1e3},      {"m", 1e6},      {"g", 1e9},  {"t", 1e12},
                           {"K", 0x1p10},   {"M", 0x1p20},   {"G", 0x1p30},   {"T", 0x1p40},   {"B", 1},    {"", 1}};

// Blocks of sequences of so many tokens, in all groups. `while_prompt`: at worst, while a prompt is computed; of a
// window that is more than later. A reservation is for the whole sequence, whatever layers see.
KvWorstCase BlocksFor(const MemoryPlanInput& input, int64_t num_tokens, bool while_prompt) {
  SchedulerConfig config;
  config.block_size = static_cast<uint32_t>(input.block_size);
  config.kv_groups = input.kv_groups;
  config.max_num_batched_tokens = while_prompt ? static_cast<uint32_t>(input.max_num_batched_tokens) : 0;
  if (KvPolicy::Of(input.kv_policy).contiguous()) config.kv_groups.assign(input.kv_groups.size(), KvGroup{});
  return WorstCaseOf(KvConfigOf(config), 1, static_cast<uint32_t>(std::max<int64_t>(num_tokens, 2)));
}

// The most tokens, up to `longest`, that a sequence alone has room for.
int32_t LongestFitting(const MemoryPlanInput& input, int64_t num_blocks, int32_t longest) {
  int32_t fits = 0;
  for (int32_t too_long = longest + 1; too_long - fits > 1;) {
    const int32_t length = fits + (too_long - fits) / 2;
    const uint64_t num_needed = BlocksFor(input, length, true).total(1);
    (num_needed <= static_cast<uint64_t>(num_blocks) ? fits : too_long) = length;
  }
  return fits;
}

// In all caches.
size_t BytesPerToken(const MemoryPlanInput& input) { return input.kv_bytes_per_token + input.draft_kv_bytes_per_token; }

// The number of blocks asked for, or what a share of free memory gives, but no more than every slot can use.
Result<int64_t> ChooseNumBlocks(const MemoryPlanInput& input) {
  const size_t block_bytes = BytesPerToken(input) * static_cast<size_t>(input.block_size);
  const size_t fixed = input.weight_bytes + input.scratch_bytes;
  if (fixed >= input.available_bytes) {
    return ResourceExhausted("weights ({}) and scratch ({}) do not fit the {} that are free",
                             FormatBytes(input.weight_bytes), FormatBytes(input.scratch_bytes),
                             FormatBytes(input.available_bytes));
  }
  const size_t free_bytes = input.available_bytes - fixed;
  if (input.num_blocks) {
    if (static_cast<size_t>(*input.num_blocks) > free_bytes / block_bytes) {
      return ResourceExhausted(
          "{} KV blocks of {} beside weights ({}) and scratch ({}) do not fit the {} that are free: lower "
          "--num-gpu-blocks-override",
          *input.num_blocks, FormatBytes(block_bytes), FormatBytes(input.weight_bytes),
          FormatBytes(input.scratch_bytes), FormatBytes(input.available_bytes));
    }
    return int64_t{*input.num_blocks};
  }
  if (input.kv_cache_bytes) {
    if (*input.kv_cache_bytes > free_bytes) {
      return ResourceExhausted(
          "a KV cache of {} beside weights ({}) and scratch ({}) does not fit the {} that are free: "
          "lower --kv-cache-memory",
          FormatBytes(*input.kv_cache_bytes), FormatBytes(input.weight_bytes), FormatBytes(input.scratch_bytes),
          FormatBytes(input.available_bytes));
    }
    return static_cast<int64_t>(*input.kv_cache_bytes / block_bytes);
  }
  const double share = static_cast<double>(free_bytes) * input.memory_share;
  const int64_t affordable = static_cast<int64_t>(share / static_cast<double>(block_bytes));
  const int32_t longest = input.max_model_len.value_or(input.model_max_len);
  const KvWorstCase worst = BlocksFor(input, longest, true);
  const auto max_num_seqs = static_cast<uint64_t>(input.max_num_seqs);
  const auto usable = static_cast<int64_t>(std::max(worst.total(1) * max_num_seqs, worst.total(max_num_seqs)));
  return std::min(affordable, usable);
}

void PlanBesideThePool(const MemoryPlanInput& input, MemoryPlan& plan) {
  const size_t block_bytes = input.kv_bytes_per_token * static_cast<size_t>(plan.block_size);
  const size_t file_bytes = BytesOnDisk(block_bytes, plan.block_size);
  plan.num_swap_blocks =
      static_cast<int32_t>(std::min(input.swap_bytes / block_bytes, static_cast<size_t>(plan.num_blocks)));
  plan.swap_bytes = static_cast<size_t>(plan.num_swap_blocks) * block_bytes;
  plan.num_disk_blocks = static_cast<int32_t>(std::min(input.disk_bytes / file_bytes, size_t{INT32_MAX}));
  plan.disk_bytes = static_cast<size_t>(plan.num_disk_blocks) * file_bytes;
}

}  // namespace

size_t BytesOnDisk(size_t block_bytes, int32_t block_size) {
  constexpr size_t kPage = 4096, kHeader = 128;
  const size_t bytes = block_bytes + static_cast<size_t>(block_size) * sizeof(int32_t) + kHeader;
  return (bytes + kPage - 1) / kPage * kPage;
}

Result<MemoryPlan> PlanMemory(const MemoryPlanInput& input) {
  QUIRE_ASSIGN_OR_RETURN(int64_t num_blocks, ChooseNumBlocks(input));
  num_blocks = std::min<int64_t>(num_blocks, INT32_MAX / input.block_size);
  if (num_blocks < 1) {
    return ResourceExhausted("not one KV block of {} tokens ({}) fits: raise --kv-cache-memory", input.block_size,
                             FormatBytes(BytesPerToken(input) * static_cast<size_t>(input.block_size)));
  }
  MemoryPlan plan;
  plan.weight_bytes = input.weight_bytes;
  plan.weight_formats = input.weight_formats;
  plan.scratch_bytes = input.scratch_bytes;
  plan.num_blocks = static_cast<int32_t>(num_blocks);
  plan.block_size = input.block_size;
  plan.num_kv_groups = static_cast<int32_t>(input.kv_groups.size());
  plan.kv_bytes = BytesPerToken(input) * static_cast<size_t>(num_blocks * input.block_size);
  const int32_t longest = input.max_model_len.value_or(input.model_max_len);
  plan.max_model_len = LongestFitting(input, num_blocks, longest);
  if (plan.max_model_len < 2) {
    return ResourceExhausted(
        "{} KV blocks of {} tokens are too few for one sequence, in {} groups of layers: raise "
        "--kv-cache-memory",
        num_blocks, input.block_size, input.kv_groups.size());
  }
  if (input.max_model_len && longest > plan.max_model_len) {
    return InvalidArgument(
        "one sequence of --max-model-len {} tokens does not fit the KV cache of {} tokens ({}): raise "
        "--kv-cache-memory or lower --max-model-len",
        longest, plan.max_model_len, FormatBytes(plan.kv_bytes));
  }
  // In slots: a group of full layers holds what is in no whole block, too.
  const int64_t num_slots = num_blocks * input.block_size;
  const bool is_plain = plan.num_kv_groups == 1 && input.kv_groups[0].window == 0;
  plan.full_length_sequences = is_plain ? static_cast<double>(num_slots) / plan.max_model_len
                                        : static_cast<double>(num_blocks) /
                                              static_cast<double>(BlocksFor(input, plan.max_model_len, false).total(1));
  plan.kv_tokens = std::llround(plan.full_length_sequences * plan.max_model_len);
  PlanBesideThePool(input, plan);
  return plan;
}

std::string FormatMemoryPlan(const MemoryPlan& plan) {
  std::string text = fmt::format(
      "memory plan\n"
      "  weights   {:>12}{}{}\n"
      "  KV cache  {:>12}  {} blocks of {} tokens{}: {} tokens, {:.1f} sequences of {}\n"
      "  scratch   {:>12}\n",
      FormatBytes(plan.weight_bytes), plan.weight_formats.empty() ? "" : "  ", plan.weight_formats,
      FormatBytes(plan.kv_bytes), plan.num_blocks, plan.block_size,
      plan.num_kv_groups > 1 ? fmt::format(" in one of {} KV groups", plan.num_kv_groups) : "", plan.kv_tokens,
      plan.full_length_sequences, plan.max_model_len, FormatBytes(plan.scratch_bytes));
  const auto add = [&](const char* what, size_t bytes, int32_t num_blocks, const char* note) {
    if (num_blocks == 0) return;
    text += fmt::format("  {:<8}  {:>12}  {} blocks {}\n", what, FormatBytes(bytes), num_blocks, note);
  };
  add("swap", plan.swap_bytes, plan.num_swap_blocks, "of preempted sequences, in a file that grows as needed");
  add("disk", plan.disk_bytes, plan.num_disk_blocks, "of the prefix cache, at most");
  return text;
}

Result<size_t> ParseByteSize(const std::string& text) {
  double number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string unit(end, text.data() + text.size());
  unit.erase(0, unit.find_first_not_of(' ') == std::string::npos ? unit.size() : unit.find_first_not_of(' '));
  const auto* found = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const Unit& u) { return unit == u.name; });
  const double bytes = found == std::end(kUnits) ? -1 : number * found->bytes;
  if (code != std::errc() || !(bytes >= 1) || bytes > 0x1p60) {
    return InvalidArgument("\"{}\" is not a size: write a number and a unit, such as 4GiB or 512MiB", text);
  }
  return static_cast<size_t>(bytes);
}

Result<size_t> ParseGibibytes(const std::string& text) {
  double number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool alone = code == std::errc() && end == text.data() + text.size();
  if (!alone) return ParseByteSize(text);
  if (!(number >= 0) || number > 0x1p30) {
    return InvalidArgument("\"{}\" is not a size: write a number of GiB, or a number and a unit, such as 512MiB", text);
  }
  return static_cast<size_t>(number * 0x1p30);
}

std::string FormatBytes(size_t bytes) {
  constexpr const char* kNames[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kNames); ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.2f} {}", value, kNames[unit]);
}

}  // namespace quire
