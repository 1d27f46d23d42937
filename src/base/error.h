// Makers of Error values with formatted messages: return InvalidArgument("top_p is {}: must be in (0, 1]", p);
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "quire/result.h"

namespace quire {

template <typename... Args>
Error MakeError(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Error{code, fmt::format(format, std::forward<Args>(args)...)};
}

// InvalidField("top_p", "is {}: must be in (0, 1]", p): of a field of a request, whose name comes first.
template <typename... Args>
Error InvalidField(std::string_view field, fmt::format_string<Args...> format, Args&&... args) {
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("{} {}", field, fmt::format(format, std::forward<Args>(args)...)), std::string(field)};
}
// An error that has been told already, of a field.
inline Error OfField(std::string_view field, Error error) {
  error.field = field;
  return error;
}

// Prompt and answer are too long for the model; `field` is what to shorten.
template <typename... Args>
Error TooLong(std::string_view field, fmt::format_string<Args...> format, Args&&... args) {
  return Error{ErrorCode::kContextLength, fmt::format(format, std::forward<Args>(args)...), std::string(field)};
}

#define QUIRE_DEFINE_ERROR(Name)                                               \
  template <typename... Args>                                                  \
  Error Name(fmt::format_string<Args...> format, Args&&... args) {             \
    return MakeError(ErrorCode::k##Name, format, std::forward<Args>(args)...); \
  }
QUIRE_DEFINE_ERROR(InvalidArgument)
QUIRE_DEFINE_ERROR(NotFound)
QUIRE_DEFINE_ERROR(ResourceExhausted)
QUIRE_DEFINE_ERROR(Unimplemented)
QUIRE_DEFINE_ERROR(DataLoss)
QUIRE_DEFINE_ERROR(Io)
QUIRE_DEFINE_ERROR(Cancelled)
QUIRE_DEFINE_ERROR(Unavailable)
QUIRE_DEFINE_ERROR(Internal)
#undef QUIRE_DEFINE_ERROR

}  // namespace quire
