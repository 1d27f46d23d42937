// HTTP without sockets: what a connection hands to the application and what it gets back. The application never waits:
// it is asked by the connection's I/O thread whether there is something to write, and says through `notify` when it is
// worth asking again.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/http/byte_budget.h"

namespace quire::server {

using HttpFields = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // RoutePath of what came, without the query
  HttpFields fields;
  ByteShare body_share;  // of what all bodies may take
  std::string body;

  // The first field of that name, in any case; null if there is none.
  const std::string* Find(std::string_view name) const;
};

struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  HttpFields fields;     // further ones
  bool streams = false;  // the body follows from HttpExchange::Read
};

// One request that is being answered. Used by one I/O thread; destroying it means that nobody waits for the answer any
// more, and ends the work behind it.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  // The answer, or the head of a stream, once it is known; null before.
  virtual const HttpReply* Head() = 0;
  // Of a stream: appends what is new to `out`, perhaps nothing. True when that was the last.
  virtual bool Read(std::string& out) = 0;
};

// The application. Called by I/O threads, so it must not compute for long there.
class HttpService {
 public:
  virtual ~HttpService() = default;
  // With the head alone, before the body is read: an answer if the request is refused.
  virtual std::optional<HttpReply> Refuse(const HttpRequest& head) = 0;
  // `notify` may be called by any thread, at any time, also when the exchange is gone.
  virtual std::unique_ptr<HttpExchange> Start(HttpRequest request, std::function<void()> notify) = 0;
  // The answer to a request that is not HTTP, too large or too slow.
  virtual HttpReply ProtocolError(int status, std::string_view message) = 0;
  // Each answer, as it begins.
  virtual void CountReply(int status) = 0;
};

// Wire format.
// A path as routes know it: percent-decoded, without a final slash. What is no escape, or one of a control character,
// stays.
std::string RoutePath(std::string_view path);
std::string_view StatusText(int status);
bool EqualsIgnoringCase(std::string_view a, std::string_view b);

// By which clients and proxies tell requests apart: it comes back with the answer.
inline constexpr std::string_view kRequestIdField = "X-Request-Id";

struct ReplyFraming {
  bool http10 = false;
  bool keep_alive = true;
  bool head_only = false;  // the answer to HEAD
  std::string request_id;  // as the request gave it; empty: none
};
// Appends the status line and fields of `reply`; and its body, unless it streams or only the head is wanted. A stream
// is chunked, or ended by closing for HTTP/1.0.
void AppendReply(const HttpReply& reply, const ReplyFraming& framing, std::string& out);

// A chunk whose size is filled in after its contents: begin = BeginChunk(out); append; EndChunk(begin, out).
size_t BeginChunk(std::string& out);
void EndChunk(size_t begin, std::string& out);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace quire::server
