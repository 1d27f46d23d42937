// What values an option takes, and which member of LoadOptions they go to: a small, closed vocabulary, of which
// option_table.cc is written.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "llm/load_options.h"
#include "llm/option_names.h"
#include "quire/result.h"

namespace quire {

namespace takes {

struct Switch {
  bool LoadOptions::*member;
};

// T: int32_t, int64_t, or an optional one, which is absent where the option is not given.
template <typename T>
struct WholeNumber {
  T LoadOptions::*member;
  int64_t least, most;
};
template <typename T>
WholeNumber(T LoadOptions::*, int64_t, int64_t) -> WholeNumber<T>;

// auto and -1 mean that it is absent.
struct WholeNumberOrAuto {
  std::optional<int32_t> LoadOptions::*member;
  int64_t least, most;
};

struct Number {
  double LoadOptions::*member;
  double least, most;
};

struct Seed {
  std::optional<uint64_t> LoadOptions::*member;
};

template <typename T>
struct OneOf {
  T LoadOptions::*member;
  std::span<const Named<T>> names;
};
template <typename T, size_t kSize>
OneOf(T LoadOptions::*, const Named<T> (&)[kSize]) -> OneOf<T>;

// As OneOf, where the member keeps the name as it is spelled.
template <typename T>
struct Spelling {
  std::string LoadOptions::*member;
  std::span<const Named<T>> names;
};
template <typename T, size_t kSize>
Spelling(std::string LoadOptions::*, const Named<T> (&)[kSize]) -> Spelling<T>;

// Such as 4GiB. Nothing, where the default is nothing.
struct ByteSize {
  std::string LoadOptions::*member;
  Result<size_t> (*parse)(const std::string&);
};

// Such as JSON: the check decides, of an empty text, too.
struct CheckedText {
  std::string LoadOptions::*member;
  Status (*check)(const std::string&);
  const char* placeholder = "TEXT";
};

// A path, or anything else.
struct Text {
  std::string LoadOptions::*member;
};

// The option may be given several times.
struct Texts {
  std::vector<std::string> LoadOptions::*member;
};

}  // namespace takes

using OptionValue =
    std::variant<takes::Switch, takes::WholeNumber<int32_t>, takes::WholeNumber<int64_t>,
                 takes::WholeNumber<std::optional<int32_t>>, takes::WholeNumberOrAuto, takes::Number, takes::Seed,
                 takes::OneOf<int32_t>, takes::OneOf<SamplingDefaults>, takes::Spelling<std::optional<DType>>,
                 takes::OneOf<KvPolicyKind>, takes::OneOf<QueuePolicy>, takes::OneOf<Batching>,
                 takes::OneOf<PreemptionMode>, takes::ByteSize, takes::CheckedText, takes::Text, takes::Texts>;

// Sets the member to what the text says, or adds it to a list. Errors are value_text.h's: they do not name the option.
Status ReadValue(const OptionValue& value, const std::string& text, LoadOptions& options);

// What the member holds, as the text that ReadValue takes for it if it is allowed. Absent: nothing that could be wrong.
std::optional<std::string> ValueText(const OptionValue& value, const LoadOptions& options);

// What the help has in the place of a value: its type and, if they are few, its names.
std::string Placeholder(const OptionValue& value);

}  // namespace quire
