#include "llm/option_value.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <concepts>
#include <type_traits>

#include "llm/value_text.h"

namespace quire {
namespace {

template <typename T>
std::vector<std::string_view> NamesIn(std::span<const Named<T>> names) {
  std::vector<std::string_view> result;
  result.reserve(names.size());
  for (const Named<T>& named : names) result.push_back(named.name);
  return result;
}

template <typename T>
struct Present {
  using Type = T;
};
template <typename T>
struct Present<std::optional<T>> {
  using Type = T;
};

// Whatever has been read is in the member's range.
template <typename T, typename Member>
Status Put(const Result<T>& read, Member& member) {
  if (!read.ok()) return read.error();
  member = static_cast<typename Present<Member>::Type>(*read);
  return {};
}

struct Reader {
  const std::string& text;
  LoadOptions& options;

  Status operator()(const takes::Switch& takes) const {
    constexpr std::string_view kNames[] = {"false", "true"};
    return Put(ReadName(text, kNames), options.*takes.member);
  }
  template <typename T>
  Status operator()(const takes::WholeNumber<T>& takes) const {
    return Put(ReadWholeNumber(text, takes.least, takes.most), options.*takes.member);
  }
  Status operator()(const takes::WholeNumberOrAuto& takes) const {
    constexpr std::string_view kAuto[] = {"auto", "Auto", "AUTO", "-1"};
    if (!ReadName(text, kAuto).ok()) return Put(ReadWholeNumber(text, takes.least, takes.most), options.*takes.member);
    (options.*takes.member).reset();
    return {};
  }
  Status operator()(const takes::Number& takes) const {
    return Put(ReadNumber(text, takes.least, takes.most), options.*takes.member);
  }
  Status operator()(const takes::Seed& takes) const { return Put(ReadSeed(text), options.*takes.member); }
  template <typename T>
  Status operator()(const takes::OneOf<T>& takes) const {
    QUIRE_ASSIGN_OR_RETURN(const size_t index, ReadName(text, NamesIn(takes.names)));
    options.*takes.member = takes.names[index].value;
    return {};
  }
  template <typename T>
  Status operator()(const takes::Spelling<T>& takes) const {
    const Result<size_t> index = ReadName(text, NamesIn(takes.names));
    if (!index.ok()) return index.error();
    options.*takes.member = text;
    return {};
  }
  Status operator()(const takes::ByteSize& takes) const {
    const bool may_be_empty = (LoadOptions().*takes.member).empty();
    const Result<size_t> bytes = text.empty() && may_be_empty ? Result<size_t>(0) : takes.parse(text);
    if (!bytes.ok()) return bytes.error();
    options.*takes.member = text;
    return {};
  }
  Status operator()(const takes::CheckedText& takes) const {
    QUIRE_RETURN_IF_ERROR(takes.check(text));
    options.*takes.member = text;
    return {};
  }
  Status operator()(const takes::Text& takes) const {
    options.*takes.member = text;
    return {};
  }
  Status operator()(const takes::Texts& takes) const {
    (options.*takes.member).push_back(text);
    return {};
  }
};

// Of a value without a name, its number.
template <typename T>
std::string NumberText(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return fmt::format("{}", static_cast<int>(value));
  } else {
    return fmt::format("{}", value);
  }
}
template <typename T>
std::optional<std::string> NumberText(const std::optional<T>& value) {
  return value ? std::optional(NumberText(*value)) : std::nullopt;
}

struct Writer {
  const LoadOptions& options;

  std::optional<std::string> operator()(const takes::Switch& takes) const {
    return options.*takes.member ? "true" : "false";
  }
  template <typename T>
  std::optional<std::string> operator()(const takes::OneOf<T>& takes) const {
    const T& value = options.*takes.member;
    const auto found = std::ranges::find(takes.names, value, &Named<T>::value);
    return found == takes.names.end() ? NumberText(value) : std::string(found->name);
  }
  std::optional<std::string> operator()(const takes::Texts& takes) const {
    const std::vector<std::string>& texts = options.*takes.member;
    return texts.empty() ? std::nullopt : std::optional(fmt::format("{}", fmt::join(texts, ", ")));
  }
  template <typename Takes>
  std::optional<std::string> operator()(const Takes& takes) const {
    return NumberText(options.*takes.member);
  }
};

}  // namespace

Status ReadValue(const OptionValue& value, const std::string& text, LoadOptions& options) {
  return std::visit(Reader{text, options}, value);
}

std::optional<std::string> ValueText(const OptionValue& value, const LoadOptions& options) {
  return std::visit(Writer{options}, value);
}

std::string Placeholder(const OptionValue& value) {
  const auto placeholder = []<typename Takes>(const Takes& takes) -> std::string {
    using Member = typename Present<std::remove_cvref_t<decltype(LoadOptions().*takes.member)>>::Type;
    const char* type = std::floating_point<Member>      ? "FLOAT"
                       : std::unsigned_integral<Member> ? "UINT"
                       : std::integral<Member>          ? "INT"
                                                        : "TEXT";
    if constexpr (requires { takes.placeholder; }) return takes.placeholder;
    if constexpr (requires { takes.names; }) return fmt::format("{}:{}", type, fmt::join(NamesIn(takes.names), ", "));
    return type;
  };
  return std::visit(placeholder, value);
}

}  // namespace quire
