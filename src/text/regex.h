// A compiled regular expression of a tokenizer (PCRE2 with JIT, limits on work and memory). Immutable: any thread; a
// RegexScanner serves one thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "quire/result.h"

namespace quire::text {

class Regex {
 public:
  // `pattern` in Oniguruma's dialect (text/regex_dialect.h).
  static Result<Regex> Compile(std::string_view pattern);
  static Result<Regex> CompileLiteral(std::string_view text);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

 private:
  friend class RegexScanner;
  struct Impl;
  explicit Regex(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The matches from left to right, without overlaps; never an empty one where the match before it ended.
class RegexScanner {
 public:
  // REQUIRES: `regex` outlives the scanner.
  explicit RegexScanner(const Regex& regex);
  ~RegexScanner();
  RegexScanner(const RegexScanner&) = delete;
  RegexScanner& operator=(const RegexScanner&) = delete;

  // Starts at the beginning of `text`. REQUIRES: valid UTF-8 that outlives its use here.
  void Reset(std::string_view text);

  // Moves to the next match; false at the end, or at an error: then status() says so.
  bool Next();
  size_t begin() const { return begin_; }
  size_t end() const { return end_; }
  const Status& status() const { return status_; }

 private:
  struct MatchState;
  bool Match(size_t from);

  const Regex& regex_;
  std::string_view text_;
  std::unique_ptr<MatchState> state_;
  size_t begin_ = 0;
  size_t end_ = 0;
  bool has_match_ = false;  // begin_ and end_ are those of a match
  Status status_;
};

}  // namespace quire::text
