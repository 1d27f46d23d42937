// The names of what options choose among. Each list is the only one: it is what is read, checked, and shown in the help
// and in errors.
#pragma once

#include <algorithm>
#include <iterator>
#include <optional>
#include <string_view>

#include "kv/kv_policy.h"
#include "llm/load_options.h"
#include "sched/scheduler_config.h"
#include "tensor/dtype.h"

namespace quire {

template <typename T>
struct Named {
  std::string_view name;
  T value;
};

inline constexpr Named<SamplingDefaults> kSamplingDefaults[] = {{"auto", SamplingDefaults::kOfModel},
                                                                {"vllm", SamplingDefaults::kNeutral}};
inline constexpr Named<std::optional<DType>> kDTypes[] = {{"auto", std::nullopt},   {"bfloat16", DType::kBf16},
                                                          {"float32", DType::kF32}, {"float", DType::kF32},
                                                          {"float16", DType::kF16}, {"half", DType::kF16}};
inline constexpr Named<std::optional<DType>> kKvDTypes[] = {
    {"auto", std::nullopt}, {"bfloat16", DType::kBf16}, {"float32", DType::kF32}, {"float16", DType::kF16}};
inline constexpr Named<int32_t> kBlockSizes[] = {{"1", 1},   {"2", 2},   {"4", 4},     {"8", 8},    {"16", 16},
                                                 {"32", 32}, {"64", 64}, {"128", 128}, {"256", 256}};
inline const Named<KvPolicyKind> kKvPolicies[] = {
    {KvPolicyName(KvPolicyKind::kPaged), KvPolicyKind::kPaged},
    {KvPolicyName(KvPolicyKind::kReserveMax), KvPolicyKind::kReserveMax},
    {KvPolicyName(KvPolicyKind::kReservePow2), KvPolicyKind::kReservePow2},
    {KvPolicyName(KvPolicyKind::kReserveExact), KvPolicyKind::kReserveExact}};
inline constexpr Named<QueuePolicy> kQueuePolicies[] = {{"fcfs", QueuePolicy::kFcfs},
                                                        {"priority", QueuePolicy::kPriority}};
inline constexpr Named<Batching> kBatchings[] = {{"continuous", Batching::kContinuous}, {"static", Batching::kStatic}};
inline constexpr Named<PreemptionMode> kPreemptionModes[] = {
    {"recompute", PreemptionMode::kRecompute}, {"swap", PreemptionMode::kSwap}, {"auto", PreemptionMode::kAuto}};

// Of several names, the first. REQUIRES: the value has one.
template <typename T, size_t kSize>
std::string_view NameOf(const Named<T> (&names)[kSize], const T& value) {
  return std::ranges::find(names, value, &Named<T>::value)->name;
}

// REQUIRES: the name is one of them.
template <typename T, size_t kSize>
const T& ValueOf(const Named<T> (&names)[kSize], std::string_view name) {
  return std::ranges::find(names, name, &Named<T>::name)->value;
}

}  // namespace quire
