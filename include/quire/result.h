// Result<T>: a value or an Error. For every failure that a correct program can meet: a malformed file, an impossible
// request, a full queue. A broken invariant is a CHECK (base/check.h); exceptions only come from libraries.
#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace quire {

enum class ErrorCode {
  kInvalidArgument,    // the caller's input is wrong: HTTP 400
  kContextLength,      // prompt and answer are longer than the model's context: HTTP 400
  kNotFound,           // HTTP 404
  kUnauthenticated,    // HTTP 401
  kResourceExhausted,  // a queue or memory is full now; later may work: HTTP 429
  kUnimplemented,      // understood, not offered: HTTP 400 or 501
  kDataLoss,           // a file is truncated or corrupt
  kIo,                 // the system refused: open, mmap, bind
  kCancelled,          // the client or an operator ended it
  kUnavailable,        // shutting down, or the engine has failed: HTTP 503
  kInternal,           // a defect, contained
};

const char* ErrorCodeName(ErrorCode code);

// The message says what, which value, and what to do.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  std::string field;  // of the request or option that is wrong, if it is one: "top_p"
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // REQUIRES: ok(). Throws std::bad_variant_access otherwise, which is a defect of the caller.
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // REQUIRES: !ok().
  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const& { return *error_; }
  Error&& error() && { return *std::move(error_); }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace quire

// Returns the error of `expression` from the enclosing function, or goes on.
#define QUIRE_RETURN_IF_ERROR(expression)                                                             \
  do {                                                                                                \
    if (auto quire_status = (expression); !quire_status.ok()) return std::move(quire_status).error(); \
  } while (false)

// QUIRE_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
#define QUIRE_ASSIGN_OR_RETURN(declaration, expression) \
  QUIRE_ASSIGN_OR_RETURN_IMPL(QUIRE_CONCAT(quire_result_, __LINE__), declaration, expression)
#define QUIRE_ASSIGN_OR_RETURN_IMPL(temporary, declaration, expression) \
  auto temporary = (expression);                                        \
  if (!temporary.ok()) return std::move(temporary).error();             \
  declaration = *std::move(temporary)
#define QUIRE_CONCAT(a, b) QUIRE_CONCAT_IMPL(a, b)
#define QUIRE_CONCAT_IMPL(a, b) a##b
