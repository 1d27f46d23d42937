// Checks of option values for CLI11, whose messages name the value and what is allowed in words for people.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace quire {

inline constexpr const char* kAuto = "auto";
inline constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

// To be used with transform(): the option gets the number without its suffix (1k, see whole_number.h).
CLI::Validator WholeNumber(int64_t least, int64_t most);
// The same, or auto or -1, which both become kAuto.
CLI::Validator WholeNumberOrAuto(int64_t least, int64_t most);

CLI::Validator Number();
CLI::Validator Number(double least, double most);
// Infinity included.
CLI::Validator PositiveNumber();
// 64 bits without a sign.
CLI::Validator Seed();
CLI::Validator OneOf(std::vector<std::string> names);

}  // namespace quire
