// Checks of option values for CLI11, with the messages of value_text.h.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string_view>
#include <vector>

namespace quire {

// To be used with transform(): the option gets the number without its suffix (1k).
CLI::Validator WholeNumber(int64_t least, int64_t most);
CLI::Validator Number();
CLI::Validator Number(double least, double most);
// Infinity included.
CLI::Validator PositiveNumber();
// 64 bits without a sign.
CLI::Validator Seed();
CLI::Validator OneOf(std::vector<std::string_view> names);

}  // namespace quire
