// CHECK: a broken invariant is a defect; it is on in release, prints the values and stops the process. Never for input.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace quire {

[[noreturn]] void CheckFailed(const char* file, int line, std::string_view condition, std::string_view details);

}  // namespace quire

#define QUIRE_CHECK(condition, ...)                                                        \
  do {                                                                                     \
    if (!(condition)) [[unlikely]]                                                         \
      ::quire::CheckFailed(__FILE__, __LINE__, #condition, ::fmt::format("" __VA_ARGS__)); \
  } while (false)

#define QUIRE_CHECK_OP(a, op, b)                                                                                     \
  do {                                                                                                               \
    const auto& quire_a = (a);                                                                                       \
    const auto& quire_b = (b);                                                                                       \
    if (!(quire_a op quire_b)) [[unlikely]]                                                                          \
      ::quire::CheckFailed(__FILE__, __LINE__, #a " " #op " " #b, ::fmt::format("{} against {}", quire_a, quire_b)); \
  } while (false)

#define QUIRE_CHECK_EQ(a, b) QUIRE_CHECK_OP(a, ==, b)
#define QUIRE_CHECK_NE(a, b) QUIRE_CHECK_OP(a, !=, b)
#define QUIRE_CHECK_LT(a, b) QUIRE_CHECK_OP(a, <, b)
#define QUIRE_CHECK_LE(a, b) QUIRE_CHECK_OP(a, <=, b)
#define QUIRE_CHECK_GT(a, b) QUIRE_CHECK_OP(a, >, b)
#define QUIRE_CHECK_GE(a, b) QUIRE_CHECK_OP(a, >=, b)
