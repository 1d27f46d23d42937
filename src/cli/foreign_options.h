// The table of other servers' options: what people's start lines hold that Quire has no option of its own for.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace quire {

// What an option takes after its name.
enum class Arity : uint8_t {
  kNone,      // a switch; --no-NAME, and --enable-X for --disable-X, turn it the other way
  kOne,       // a value
  kMaybeOne,  // a value or none
  kSome,      // one or more values
};

enum class Verdict : uint8_t { kIgnored, kRefused, kRenamed };

struct ForeignOption {
  std::string_view name;        // empty: a short one only
  std::string_view short_name;  // empty: none
  Arity arity = Arity::kNone;
  Verdict verdict = Verdict::kIgnored;
  std::string_view same;  // separated by spaces: the values that say what Quire does; of a switch, true or false
  std::string_view note;
};

std::span<const ForeignOption> ForeignOptions();

// By its long or short name, dashes and all; null: unknown.
const ForeignOption* FindForeignOption(std::string_view name);

}  // namespace quire
