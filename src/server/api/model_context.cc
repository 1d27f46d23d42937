#include "server/api/model_context.h"

#include <algorithm>
#include <utility>

#include "server/api/unix_time.h"

namespace quire::server {
namespace {

// Text that is longer than all its possible tokens does not fit. Tokens may stand for more bytes than they spell, where
// normalisation shortens the text: hence a margin.
size_t MaxPromptBytes(const ServedModel& model, const TokenStrings& strings) {
  constexpr size_t kMargin = 4;
  return static_cast<size_t>(std::max(1, model.max_model_len)) * strings.longest_token() * kMargin;
}

}  // namespace

ModelContext::ModelContext(const ServedModel& served, std::vector<std::string> served_names)
    : model(served),
      names(served_names.empty() ? std::vector<std::string>{"model"} : std::move(served_names)),
      token_strings(*served.tokenizer),
      created(SecondsSinceEpoch()),
      max_prompt_bytes(MaxPromptBytes(served, token_strings)) {}

bool ModelContext::Serves(std::string_view name) const {
  return name.empty() || std::ranges::find(names, name) != names.end();
}

}  // namespace quire::server
