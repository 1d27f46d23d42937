#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cstdint>

#include "base/error.h"
#include "text/regex_dialect.h"
#include "text/utf8.h"

namespace quire::text {
namespace {

constexpr uint32_t kMatchLimit = 20'000'000;  // backtracking steps of one match
constexpr uint32_t kHeapLimitKib = 64 * 1024;
constexpr size_t kJitStackBytes = 8 * 1024 * 1024;

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Code = std::unique_ptr<pcre2_code, Freer<pcre2_code_free>>;
using CompileContext = std::unique_ptr<pcre2_compile_context, Freer<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Freer<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Freer<pcre2_match_data_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Freer<pcre2_jit_stack_free>>;

std::string Pcre2Message(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

Result<Code> CompilePcre2(std::string_view pattern, std::string_view shown, uint32_t options) {
  const CompileContext context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 200);
  int error = 0;
  PCRE2_SIZE offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | options, &error, &offset,
                          context.get()));
  if (!code) return InvalidArgument("regex \"{}\" does not compile: {}", shown, Pcre2Message(error));
  return code;
}

}  // namespace

struct Regex::Impl {
  Code code;
  MatchContext limits;
  bool has_jit = false;
};

Regex::Regex(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {
  impl_->limits.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(impl_->limits.get(), kMatchLimit);
  pcre2_set_heap_limit(impl_->limits.get(), kHeapLimitKib);
  impl_->has_jit = pcre2_jit_compile(impl_->code.get(), PCRE2_JIT_COMPLETE) == 0;
}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::Compile(std::string_view pattern) {
  QUIRE_ASSIGN_OR_RETURN(const std::string translated, OnigurumaToPcre2(pattern));
  QUIRE_ASSIGN_OR_RETURN(Code code, CompilePcre2(translated, pattern, 0));
  return Regex(std::make_unique<Impl>(Impl{.code = std::move(code), .limits = nullptr}));
}

Result<Regex> Regex::CompileLiteral(std::string_view text) {
  // A literal pattern admits few other options, MULTILINE not among them: quote instead.
  std::string quoted;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 &&
        std::string_view("\\^$.[]|()?*+{}#- \t\n\r\v\f").find(c) != std::string_view::npos) {
      quoted += fmt::format("\\x{{{:x}}}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      quoted += c;
    }
  }
  QUIRE_ASSIGN_OR_RETURN(Code code, CompilePcre2(quoted, text, 0));
  return Regex(std::make_unique<Impl>(Impl{.code = std::move(code), .limits = nullptr}));
}

struct RegexScanner::MatchState {
  MatchData data;
  // Made when the thread's own stack has not sufficed for a match.
  MatchContext context;
  JitStack stack;
};

RegexScanner::RegexScanner(const Regex& regex) : regex_(regex), state_(std::make_unique<MatchState>()) {
  state_->data.reset(pcre2_match_data_create(1, nullptr));
}

RegexScanner::~RegexScanner() = default;

void RegexScanner::Reset(std::string_view text) {
  text_ = text;
  begin_ = end_ = 0;
  has_match_ = false;
  status_ = {};
}

bool RegexScanner::Match(size_t from) {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text_.data());
  const Regex::Impl& regex = *regex_.impl_;
  pcre2_match_context* context = state_->context ? state_->context.get() : regex.limits.get();
  // Both calls check nothing about UTF-8: the text has been checked once, as a whole.
  const auto run = [&] {
    return regex.has_jit
               ? pcre2_jit_match(regex.code.get(), subject, text_.size(), from, 0, state_->data.get(), context)
               : pcre2_match(regex.code.get(), subject, text_.size(), from, PCRE2_NO_UTF_CHECK, state_->data.get(),
                             context);
  };
  int result = run();
  if (result == PCRE2_ERROR_JIT_STACKLIMIT && !state_->stack) {
    state_->context.reset(pcre2_match_context_copy(context));
    state_->stack.reset(pcre2_jit_stack_create(64 * 1024, kJitStackBytes, nullptr));
    context = state_->context.get();
    pcre2_jit_stack_assign(context, nullptr, state_->stack.get());
    result = run();
  }
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0) {
    status_ = InvalidArgument("splitting the text at byte {} needs more work than is allowed: {}", from,
                              Pcre2Message(result));
    return false;
  }
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(state_->data.get());
  begin_ = offsets[0];
  end_ = offsets[1];
  return true;
}

bool RegexScanner::Next() {
  const size_t previous_end = end_;
  if (!Match(previous_end)) return false;
  // \K in a lookbehind can move the start of a match back.
  if (begin_ < previous_end || end_ < begin_) {
    status_ = InvalidArgument("a match at byte {} goes backwards: \\K is not supported", begin_);
    return false;
  }
  if (begin_ == end_ && end_ == previous_end && has_match_) {
    if (previous_end >= text_.size()) return false;
    const size_t next = previous_end + DecodeUtf8(text_, previous_end).length;
    if (!Match(next)) return false;
  }
  has_match_ = true;
  return true;
}

}  // namespace quire::text
