#include "server/api/token_strings.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "text/byte_level.h"
#include "text/tokenizer.h"

namespace quire::server {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// The byte of a token like "<0x0A>", or -1.
int ByteOf(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return -1;
  int byte = -1;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  return error == std::errc() && end == token.data() + 5 ? byte : -1;
}

}  // namespace

TokenStrings::TokenStrings(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {
  if (Result<std::vector<int32_t>> ids = tokenizer.Encode("a", false); ids.ok()) anchor_ = *std::move(ids);
  anchor_text_ = tokenizer.Decode(anchor_, false);
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    longest_token_ = std::max(longest_token_, tokenizer.TokenText(id).size());
  }
}

std::string TokenStrings::Text(int32_t id) const {
  std::vector<int32_t> ids = anchor_;
  ids.push_back(id);
  std::string text = tokenizer_.Decode(ids, false);
  if (text.starts_with(anchor_text_)) return text.substr(anchor_text_.size());
  return tokenizer_.Decode(std::span(&id, 1), false);
}

std::string TokenStrings::Bytes(int32_t id, const std::string& text) const {
  if (text.find(kReplacement) == std::string::npos) return text;
  const std::string_view token = tokenizer_.TokenText(id);
  if (const int byte = ByteOf(token); byte >= 0) return std::string(1, static_cast<char>(byte));
  std::string bytes;
  return quire::text::AppendBytesOfByteLevel(token, bytes) ? bytes : text;
}

bool TokenStrings::IsSpecial(int32_t id) const { return tokenizer_.IsSpecial(id); }

size_t CountCharacters(std::string_view utf8) {
  return static_cast<size_t>(std::ranges::count_if(utf8, [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace quire::server
