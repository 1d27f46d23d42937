#include "cli/checks.h"

#include <fmt/ranges.h>

#include <limits>

#include "llm/value_text.h"

namespace quire {
namespace {

// What CLI11 wants to hear: a message, or nothing.
template <typename T>
std::string MessageOf(const Result<T>& read) {
  return read.ok() ? "" : read.error().message;
}

}  // namespace

CLI::Validator WholeNumber(int64_t least, int64_t most) {
  const auto transform = [=](std::string& text) {
    const Result<int64_t> number = ReadWholeNumber(text, least, most);
    if (number.ok()) text = fmt::format("{}", *number);
    return MessageOf(number);
  };
  return CLI::Validator(transform, "");
}

CLI::Validator Number() {
  const double most = std::numeric_limits<float>::max();
  return Number(-most, most);
}

CLI::Validator Number(double least, double most) {
  return CLI::Validator([=](const std::string& text) { return MessageOf(ReadNumber(text, least, most)); }, "");
}

CLI::Validator PositiveNumber() {
  const auto check = [](const std::string& text) -> std::string {
    const Result<double> number = ReadNumber(text, 0, std::numeric_limits<double>::infinity());
    return number.ok() && *number > 0 ? "" : fmt::format("\"{}\" is not a number above 0", text);
  };
  return CLI::Validator(check, "");
}

CLI::Validator Seed() {
  return CLI::Validator([](const std::string& text) { return MessageOf(ReadSeed(text)); }, "");
}

CLI::Validator OneOf(std::vector<std::string_view> names) {
  const std::string list = fmt::format("{}", fmt::join(names, ", "));
  return CLI::Validator(
      [names = std::move(names)](const std::string& text) { return MessageOf(ReadName(text, names)); }, list);
}

}  // namespace quire
