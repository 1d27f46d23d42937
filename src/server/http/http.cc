#include "server/http/http.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>

namespace quire::server {
namespace {

// Eight hexadecimal digits and CRLF: leading zeros are allowed in a chunk's size (RFC 9112, section 7.1).
constexpr size_t kChunkHeadSize = 10;

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return Lower(x) == Lower(y); });
}

const std::string* HttpRequest::Find(std::string_view name) const {
  for (const auto& [field, value] : fields) {
    if (EqualsIgnoringCase(field, name)) return &value;
  }
  return nullptr;
}

std::string RoutePath(std::string_view path) {
  if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  std::string decoded;
  for (size_t i = 0; i < path.size(); ++i) {
    unsigned value = 0;
    const char* digits = path.data() + i + 1;
    const bool escaped = path[i] == '%' && i + 2 < path.size() &&
                         std::from_chars(digits, digits + 2, value, 16).ptr == digits + 2 && value >= 0x20 &&
                         value != 0x7F;
    decoded += escaped ? static_cast<char>(value) : path[i];
    if (escaped) i += 2;
  }
  return decoded;
}

std::string_view StatusText(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    default:
      return "Status";
  }
}

void AppendReply(const HttpReply& reply, const ReplyFraming& framing, std::string& out) {
  const auto end = std::back_inserter(out);
  fmt::format_to(end, "HTTP/1.1 {} {}\r\n", reply.status, StatusText(reply.status));
  if (!reply.content_type.empty()) fmt::format_to(end, "Content-Type: {}\r\n", reply.content_type);
  out += "Access-Control-Allow-Origin: *\r\n";  // pages of any origin may ask, as with vLLM
  if (!framing.request_id.empty()) fmt::format_to(end, "{}: {}\r\n", kRequestIdField, framing.request_id);
  for (const auto& [name, value] : reply.fields) fmt::format_to(end, "{}: {}\r\n", name, value);
  if (!reply.streams) {
    if (reply.status != 204) fmt::format_to(end, "Content-Length: {}\r\n", reply.body.size());
  } else if (!framing.http10) {
    out += "Transfer-Encoding: chunked\r\n";
  }
  const bool keep_alive = framing.keep_alive && !(reply.streams && framing.http10);
  if (!keep_alive) {
    out += "Connection: close\r\n";
  } else if (framing.http10) {
    out += "Connection: keep-alive\r\n";
  }
  out += "\r\n";
  if (!reply.streams && !framing.head_only) out += reply.body;
}

size_t BeginChunk(std::string& out) {
  const size_t begin = out.size();
  out.append(kChunkHeadSize, '0');
  return begin;
}

void EndChunk(size_t begin, std::string& out) {
  const size_t size = out.size() - begin - kChunkHeadSize;
  if (size == 0) {  // would end the body
    out.resize(begin);
    return;
  }
  fmt::format_to(out.begin() + static_cast<std::ptrdiff_t>(begin), "{:08x}\r\n", size);
  out += "\r\n";
}

}  // namespace quire::server
