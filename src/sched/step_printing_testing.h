// How GoogleTest shows the types of the step protocol where they differ: field by field, what is at its default left
// out.
#pragma once

#include <gtest/gtest.h>

#include <concepts>
#include <ostream>

#include "sched/step_fields.h"

namespace quire {

template <typename T>
void PrintValue(const T& value, std::ostream& out) {
  if constexpr (HasFields<T>) {
    out << "{";
    ForEachField<T>([&](const char* name, auto member) {
      if (EqualValues(value.*member, T{}.*member)) return;
      out << " ." << name << " = ";
      PrintValue(value.*member, out);
    });
    out << " }";
  } else if constexpr (std::is_enum_v<T>) {
    out << static_cast<int64_t>(value);
  } else if constexpr (requires {
                         typename T::value_type;
                         value.begin();
                       } &&
                       !std::convertible_to<T, std::string_view>) {
    out << "[";
    for (const auto& element : value) {
      PrintValue(element, out);
      out << ",";
    }
    out << "]";
  } else {
    out << testing::PrintToString(value);
  }
}

template <HasFields T>
void PrintTo(const T& value, std::ostream* out) {
  PrintValue(value, *out);
}

}  // namespace quire
