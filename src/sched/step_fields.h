// The fields of the step protocol's types, listed once: equality, bytes, printing and the random values of tests come
// from here. A field that is missing does not compile.
#pragma once

#include <cstddef>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kv/prefix_digest.h"
#include "quire/sampling_params.h"
#include "sched/step_plan.h"

namespace quire {

template <typename T, typename M>
struct Field {
  const char* name;
  M T::*member;
};
template <typename T, typename M>
Field(const char*, M T::*) -> Field<T, M>;

// One overload per type, chosen by a null pointer.
constexpr auto FieldsOf(const SamplingParams*) {
  using P = SamplingParams;
  return std::tuple(Field{"temperature", &P::temperature}, Field{"top_p", &P::top_p}, Field{"top_k", &P::top_k},
                    Field{"min_p", &P::min_p}, Field{"repetition_penalty", &P::repetition_penalty},
                    Field{"presence_penalty", &P::presence_penalty}, Field{"frequency_penalty", &P::frequency_penalty},
                    Field{"logit_bias", &P::logit_bias}, Field{"seed", &P::seed}, Field{"max_tokens", &P::max_tokens},
                    Field{"min_tokens", &P::min_tokens}, Field{"stop", &P::stop},
                    Field{"include_stop_str_in_output", &P::include_stop_str_in_output},
                    Field{"stop_token_ids", &P::stop_token_ids}, Field{"ignore_eos", &P::ignore_eos},
                    Field{"logprobs", &P::logprobs}, Field{"prompt_logprobs", &P::prompt_logprobs},
                    Field{"skip_special_tokens", &P::skip_special_tokens}, Field{"detokenize", &P::detokenize},
                    Field{"n", &P::n}, Field{"best_of", &P::best_of}, Field{"use_beam_search", &P::use_beam_search},
                    Field{"beam_width", &P::beam_width}, Field{"length_penalty", &P::length_penalty},
                    Field{"early_stopping", &P::early_stopping});
}
constexpr auto FieldsOf(const Admission*) {
  using A = Admission;
  return std::tuple(Field{"seat", &A::seat}, Field{"request", &A::request}, Field{"stream", &A::stream},
                    Field{"params", &A::params}, Field{"stop_token_ids", &A::stop_token_ids},
                    Field{"history", &A::history}, Field{"num_prompt_tokens", &A::num_prompt_tokens},
                    Field{"adapter_id", &A::adapter_id});
}
constexpr auto FieldsOf(const SeatFork*) {
  return std::tuple(Field{"parent", &SeatFork::parent}, Field{"child", &SeatFork::child},
                    Field{"stream", &SeatFork::stream});
}
constexpr auto FieldsOf(const PrefixDigest*) {
  return std::tuple(Field{"high", &PrefixDigest::high}, Field{"low", &PrefixDigest::low});
}
constexpr auto FieldsOf(const BlockAppend*) {
  using B = BlockAppend;
  return std::tuple(Field{"seat", &B::seat}, Field{"group", &B::group}, Field{"table_index", &B::table_index},
                    Field{"block", &B::block});
}
constexpr auto FieldsOf(const BlockCopy*) {
  using B = BlockCopy;
  return std::tuple(Field{"seat", &B::seat}, Field{"group", &B::group}, Field{"table_index", &B::table_index},
                    Field{"source", &B::source}, Field{"destination", &B::destination});
}
constexpr auto FieldsOf(const Transfer*) {
  using T = Transfer;
  return std::tuple(Field{"id", &T::id}, Field{"kind", &T::kind}, Field{"block", &T::block}, Field{"place", &T::place},
                    Field{"digest", &T::digest}, Field{"parent", &T::parent}, Field{"first_token", &T::first_token},
                    Field{"num_tokens", &T::num_tokens});
}
constexpr auto FieldsOf(const PlanSpan*) {
  using S = PlanSpan;
  return std::tuple(Field{"seat", &S::seat}, Field{"first_row", &S::first_row}, Field{"num_rows", &S::num_rows},
                    Field{"first_position", &S::first_position});
}
constexpr auto FieldsOf(const RowTask*) {
  using T = RowTask;
  return std::tuple(Field{"kind", &T::kind}, Field{"row", &T::row}, Field{"seat", &T::seat},
                    Field{"stream", &T::stream}, Field{"position", &T::position}, Field{"draws", &T::draws},
                    Field{"target", &T::target});
}
constexpr auto FieldsOf(const StepPlan*) {
  using P = StepPlan;
  return std::tuple(Field{"step", &P::step}, Field{"forks", &P::forks}, Field{"removals", &P::removals},
                    Field{"admissions", &P::admissions}, Field{"appended_blocks", &P::appended_blocks},
                    Field{"copies", &P::copies}, Field{"transfers", &P::transfers},
                    Field{"transfer_tokens", &P::transfer_tokens}, Field{"spans", &P::spans},
                    Field{"tokens", &P::tokens}, Field{"tasks", &P::tasks}, Field{"masks_follow", &P::masks_follow},
                    Field{"await_transfers", &P::await_transfers});
}
constexpr auto FieldsOf(const StepMasks*) {
  using M = StepMasks;
  return std::tuple(Field{"words_per_mask", &M::words_per_mask}, Field{"words", &M::words},
                    Field{"offsets", &M::offsets});
}
constexpr auto FieldsOf(const Candidate*) {
  return std::tuple(Field{"token", &Candidate::token}, Field{"logprob", &Candidate::logprob});
}
constexpr auto FieldsOf(const TokenOutput*) {
  using T = TokenOutput;
  return std::tuple(Field{"token", &T::token}, Field{"logprob", &T::logprob}, Field{"rank", &T::rank},
                    Field{"first_candidate", &T::first_candidate}, Field{"num_candidates", &T::num_candidates});
}
constexpr auto FieldsOf(const TaskResult*) {
  return std::tuple(Field{"status", &TaskResult::status}, Field{"first_token", &TaskResult::first_token},
                    Field{"num_tokens", &TaskResult::num_tokens});
}
constexpr auto FieldsOf(const StepResult*) {
  using R = StepResult;
  return std::tuple(Field{"step", &R::step}, Field{"tasks", &R::tasks}, Field{"tokens", &R::tokens},
                    Field{"candidates", &R::candidates}, Field{"transfers_completed", &R::transfers_completed},
                    Field{"transfers_failed", &R::transfers_failed}, Field{"forward_us", &R::forward_us},
                    Field{"sample_us", &R::sample_us}, Field{"swap_out_us", &R::swap_out_us},
                    Field{"swap_in_us", &R::swap_in_us});
}

// A type of the protocol that has fields.
template <typename T>
concept HasFields = requires(const T* type) {
  FieldsOf(type);
};

namespace internal {

template <typename T>
inline constexpr bool kIsOptional = false;
template <typename T>
inline constexpr bool kIsOptional<std::optional<T>> = true;

// Converts to whatever a field is; an optional takes what it holds. Implicitly: an explicit conversion initialises no
// member of an aggregate, and counting the members is what this is for.
struct AnyField {
  template <typename T>
  requires(!kIsOptional<T>) operator T() const;  // NOLINT(google-explicit-constructor): see above
};

template <typename T, typename... Any>
constexpr size_t NumMembers(Any... any) {
  if constexpr (requires { T{any..., AnyField{}}; }) {
    return NumMembers<T>(any..., AnyField{});
  } else {
    return sizeof...(any);
  }
}

}  // namespace internal

// Calls visit(name, member pointer) for each field, in order.
template <HasFields T, typename Visit>
void ForEachField(Visit visit) {
  constexpr auto fields = FieldsOf(static_cast<const T*>(nullptr));
  static_assert(std::tuple_size_v<decltype(fields)> == internal::NumMembers<T>(), "FieldsOf lacks a field");
  std::apply([&](const auto&... field) { (visit(field.name, field.member), ...); }, fields);
}

template <HasFields T>
bool EqualFields(const T& a, const T& b);

template <typename T>
bool EqualValues(const T& a, const T& b) {
  if constexpr (HasFields<T>) {
    return EqualFields(a, b);
  } else {
    return a == b;
  }
}

template <HasFields T>
bool EqualFields(const T& a, const T& b) {
  bool equal = true;
  ForEachField<T>([&](const char*, auto member) { equal = equal && EqualValues(a.*member, b.*member); });
  return equal;
}

}  // namespace quire
