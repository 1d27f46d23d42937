// Makers of Error values with formatted messages: return InvalidArgument("top_p is {}: must be in (0, 1]", p);
#pragma once

#include <fmt/format.h>

#include <utility>

#include "quire/result.h"

namespace quire {

template <typename... Args>
Error MakeError(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Error{code, fmt::format(format, std::forward<Args>(args)...)};
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
