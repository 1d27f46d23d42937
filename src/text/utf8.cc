#include "text/utf8.h"

namespace quire::text {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// What may follow a lead byte; count < 0 for a byte that cannot lead.
struct Continuation {
  int count = -1;
  unsigned char low = 0x80;  // bounds of the first continuation byte
  unsigned char high = 0xBF;
};

Continuation ContinuationOf(unsigned char lead) {
  if (lead < 0x80) return {.count = 0};
  if (lead < 0xC2 || lead > 0xF4) return {};
  if (lead < 0xE0) return {.count = 1};
  if (lead == 0xE0) return {.count = 2, .low = 0xA0};
  if (lead == 0xED) return {.count = 2, .high = 0x9F};
  if (lead < 0xF0) return {.count = 2};
  if (lead == 0xF0) return {.count = 3, .low = 0x90};
  if (lead == 0xF4) return {.count = 3, .high = 0x8F};
  return {.count = 3};
}

bool IsWellFormedAt(std::string_view bytes, size_t at, const Continuation& continuation) {
  const auto count = static_cast<size_t>(continuation.count);
  if (bytes.size() - at <= count) return false;
  for (size_t i = 1; i <= count; ++i) {
    const auto byte = static_cast<unsigned char>(bytes[at + i]);
    if (byte < (i == 1 ? continuation.low : 0x80) || byte > (i == 1 ? continuation.high : 0xBF)) return false;
  }
  return true;
}

}  // namespace

std::optional<size_t> FindInvalidUtf8(std::string_view bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const auto lead = static_cast<unsigned char>(bytes[at]);
    if (lead < 0x80) {
      ++at;
      continue;
    }
    const Continuation continuation = ContinuationOf(lead);
    if (continuation.count < 0 || !IsWellFormedAt(bytes, at, continuation)) return at;
    at += static_cast<size_t>(continuation.count) + 1;
  }
  return std::nullopt;
}

void AppendUtf8(char32_t code_point, std::string& out) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

void LossyUtf8::Append(std::string_view bytes, std::string& out) {
  for (const char byte : bytes) AppendByte(static_cast<unsigned char>(byte), out);
}

void LossyUtf8::AppendByte(unsigned char byte, std::string& out) {
  if (missing_ == 0) return StartCharacter(byte, out);
  if (byte < low_ || byte > high_) {
    Flush(out);
    return StartCharacter(byte, out);
  }
  pending_.push_back(static_cast<char>(byte));
  low_ = 0x80;
  high_ = 0xBF;
  if (--missing_ > 0) return;
  out.append(pending_);
  pending_.clear();
}

void LossyUtf8::StartCharacter(unsigned char byte, std::string& out) {
  const Continuation continuation = ContinuationOf(byte);
  if (continuation.count < 0) {
    out.append(kReplacement);
  } else if (continuation.count == 0) {
    out.push_back(static_cast<char>(byte));
  } else {
    pending_.assign(1, static_cast<char>(byte));
    missing_ = continuation.count;
    low_ = continuation.low;
    high_ = continuation.high;
  }
}

void LossyUtf8::Flush(std::string& out) {
  if (missing_ > 0) out.append(kReplacement);
  pending_.clear();
  missing_ = 0;
}

}  // namespace quire::text
