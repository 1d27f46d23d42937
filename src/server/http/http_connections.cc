#include "server/http/http_connections.h"

#include <algorithm>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <exception>
#include <utility>
#include <vector>

#include "base/log.h"

namespace quire::server {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

using SteadyClock = std::chrono::steady_clock;
using Parser = beast::http::request_parser<beast::http::string_body>;

constexpr size_t kReadSize = 16 << 10;
constexpr size_t kMaxPipelinedBytes = 64 << 10;  // read ahead while an answer is made
constexpr size_t kMaxDiscardedBytes = 1 << 20;   // read after a refusal, so that the client gets to see it
constexpr auto kLingerTime = std::chrono::seconds(2);
constexpr auto kTick = std::chrono::milliseconds(250);  // how exactly time limits are kept

}  // namespace

// One connection. Everything happens on its I/O thread.
class Session final : public Wakeable, public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, IoThread& io, HttpShared& shared)
      : socket_(std::move(socket)), wake_(io.context()), io_(io), shared_(shared) {}
  ~Session() override { shared_.num_connections.fetch_sub(1); }

  static asio::awaitable<void> Run(std::shared_ptr<Session> self);

  void Wake() override;
  void Close();
  void CloseIfIdle();
  void CheckDeadline(SteadyClock::time_point now);

 private:
  enum : int { kOk = 0, kGone = -1 };  // else: the status of the error to answer with

  asio::awaitable<bool> HandleOne();
  asio::awaitable<bool> AwaitFirstByte();
  // `body_share`: grows with the body; null reads the head alone.
  asio::awaitable<int> Parse(Parser& parser, ByteShare* body_share);
  asio::awaitable<bool> ReadMore();
  asio::awaitable<bool> ReadBody(Parser& parser, HttpRequest& request);
  asio::awaitable<bool> Answer(HttpRequest& request);
  asio::awaitable<bool> Stream(HttpExchange& exchange);
  asio::awaitable<void> Refuse(int status, std::string_view message);
  asio::awaitable<bool> WriteReply(const HttpReply& reply);
  asio::awaitable<bool> Write();
  asio::awaitable<void> AwaitWake();
  asio::awaitable<void> Linger();
  void Watch();
  asio::awaitable<void> StopWatching();
  void SetDeadline(SteadyClock::duration duration) { deadline_ = SteadyClock::now() + duration; }
  void ClearDeadline() { deadline_ = SteadyClock::time_point::max(); }

  tcp::socket socket_;
  asio::steady_timer wake_;
  IoThread& io_;
  HttpShared& shared_;
  beast::flat_buffer buffer_;  // read and not yet parsed
  std::string out_;            // to be written
  ReplyFraming framing_;       // of the request that is being answered
  SteadyClock::time_point deadline_ = SteadyClock::time_point::max();
  bool idle_ = false;  // between requests
  bool timed_out_ = false;
  bool gone_ = false;   // the client hung up, or the server stops
  bool woken_ = false;  // the exchange may have news
  bool writing_ = false;
  bool watching_ = false;
  bool stop_watching_ = false;
  bool must_linger_ = false;  // input may be unread: closing now could destroy the answer on its way
};

void IoThread::Run() {
  thread_ = std::thread([this] {
    for (;;) {
      try {
        context_.run();
        return;
      } catch (const std::exception& exception) {
        LogError("io_thread_exception what={}", LogValue(exception.what()));
      }
    }
  });
}

void IoThread::Join() {
  work_.reset();
  if (thread_.joinable()) thread_.join();
  wake_queue_->Close();
}

void IoThread::CloseSessions(bool idle_only) {
  asio::post(context_, [this, idle_only] {
    for (const auto& [key, weak] : sessions_) {
      const std::shared_ptr<Session> session = weak.lock();
      if (!session) continue;
      idle_only ? session->CloseIfIdle() : session->Close();
    }
  });
}

void IoThread::Adopt(tcp::socket socket, HttpShared& shared) {
  const auto session = std::make_shared<Session>(std::move(socket), *this, shared);
  sessions_.emplace(session.get(), session);
  asio::co_spawn(context_, Session::Run(session), asio::detached);
  if (!ticking_) Tick();
}

void IoThread::Tick() {
  ticking_ = !sessions_.empty();
  if (!ticking_) return;
  tick_.expires_after(kTick);
  tick_.async_wait([this](const error_code&) {
    const auto now = SteadyClock::now();
    for (const auto& [key, weak] : sessions_) {
      if (const std::shared_ptr<Session> session = weak.lock()) session->CheckDeadline(now);
    }
    Tick();
  });
}

asio::awaitable<void> Session::Run(std::shared_ptr<Session> self) {
  try {
    bool more = true;
    while (more) more = co_await self->HandleOne();
    if (self->must_linger_ && !self->gone_) co_await self->Linger();
  } catch (const std::exception& exception) {
    LogError("connection_exception what={}", LogValue(exception.what()));
  }
  error_code ignored;
  self->socket_.close(ignored);
  self->io_.Remove(self.get());
}

void Session::Wake() {
  woken_ = true;
  wake_.cancel();
}

void Session::Close() {
  gone_ = true;
  error_code ignored;
  socket_.close(ignored);
  Wake();
}

void Session::CloseIfIdle() {
  if (idle_) Close();
}

void Session::CheckDeadline(SteadyClock::time_point now) {
  if (now < deadline_) return;
  ClearDeadline();
  timed_out_ = true;
  if (writing_) {
    Close();
  } else {
    error_code ignored;
    socket_.cancel(ignored);
  }
}

asio::awaitable<void> Session::AwaitWake() {
  while (!woken_) {
    error_code ignored;
    wake_.expires_at(SteadyClock::time_point::max());
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  woken_ = false;
}

// While an answer is made nothing is expected from the client: what comes is the next request, or the end.
void Session::Watch() {
  watching_ = true;
  socket_.async_read_some(buffer_.prepare(kReadSize),
                          [self = shared_from_this()](const error_code& error, size_t size) {
                            self->watching_ = false;
                            self->buffer_.commit(size);
                            if (self->stop_watching_) return self->Wake();
                            if (error) return self->Close();
                            if (self->buffer_.size() < kMaxPipelinedBytes) self->Watch();
                          });
}

asio::awaitable<void> Session::StopWatching() {
  stop_watching_ = true;
  error_code ignored;
  if (watching_) socket_.cancel(ignored);
  while (watching_) co_await AwaitWake();
  stop_watching_ = false;
}

// False when the client is gone, or the time is over, or the server stops.
asio::awaitable<bool> Session::ReadMore() {
  if (gone_ || timed_out_) co_return false;
  error_code error;
  const auto space = buffer_.prepare(kReadSize);
  const size_t size = co_await socket_.async_read_some(space, asio::redirect_error(asio::use_awaitable, error));
  buffer_.commit(size);
  if (error && !timed_out_) gone_ = true;
  co_return !error;
}

asio::awaitable<bool> Session::AwaitFirstByte() {
  if (buffer_.size() > 0) co_return true;
  if (!shared_.accepting) co_return false;
  idle_ = true;
  SetDeadline(std::chrono::seconds(shared_.limits.keep_alive_s));
  const bool read = co_await ReadMore();
  idle_ = false;
  co_return read;
}

namespace {

int StatusOfParseError(const error_code& error) {
  if (error == beast::http::error::body_limit || error == beast::http::error::buffer_overflow) return 413;
  if (error == beast::http::error::header_limit) return 431;
  return 400;
}

}  // namespace

asio::awaitable<int> Session::Parse(Parser& parser, ByteShare* body_share) {
  while (!(body_share == nullptr ? parser.is_header_done() : parser.is_done())) {
    if (buffer_.size() > 0) {
      error_code error;
      const size_t used = parser.put(buffer_.data(), error);
      buffer_.consume(used);
      if (error && error != beast::http::error::need_more) co_return StatusOfParseError(error);
      if (body_share != nullptr && !body_share->GrowTo(parser.get().body().size())) co_return 503;
      if (!error && used > 0) continue;
    }
    const bool more = co_await ReadMore();
    if (!more) co_return timed_out_ ? 408 : kGone;
  }
  co_return kOk;
}

std::string_view ToStd(beast::string_view text) { return {text.data(), text.size()}; }

// "/path" of "/path?query" and of "http://host/path".
std::string_view PathOf(std::string_view target) {
  if (const size_t scheme = target.find("://"); !target.starts_with('/') && scheme != std::string_view::npos) {
    const size_t slash = target.find('/', scheme + 3);
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
  }
  return target.substr(0, target.find_first_of("?#"));
}

HttpRequest HeadOf(const Parser& parser) {
  HttpRequest request;
  request.method = ToStd(parser.get().method_string());
  request.path = RoutePath(PathOf(ToStd(parser.get().target())));
  for (const auto& field : parser.get()) {
    request.fields.emplace_back(ToStd(field.name_string()), ToStd(field.value()));
  }
  return request;
}

namespace {

std::string_view MessageOf(int status) {
  switch (status) {
    case 408:
      return "the request did not arrive in time";
    case 413:
      return "the request's body is too large";
    case 431:
      return "the request's header fields are too large";
    case 503:
      return "the requests that the server reads have as many bytes together as they may: try again later";
    default:
      return "this is not an HTTP/1.1 request";
  }
}

}  // namespace

// The count of requests that are being answered.
class Active {
 public:
  explicit Active(HttpShared& shared) : shared_(shared) { shared_.num_active.fetch_add(1); }
  ~Active() { shared_.num_active.fetch_sub(1); }
  Active(const Active&) = delete;
  Active& operator=(const Active&) = delete;

 private:
  HttpShared& shared_;
};

// Returns whether another request may follow.
asio::awaitable<bool> Session::HandleOne() {
  const HttpLimits& limits = shared_.limits;
  const bool begun = co_await AwaitFirstByte();
  if (!begun) co_return false;
  SetDeadline(std::chrono::seconds(limits.header_timeout_s));
  Parser parser;
  parser.header_limit(static_cast<std::uint32_t>(limits.max_header_bytes));
  parser.body_limit(limits.max_body_bytes);
  const int status = co_await Parse(parser, nullptr);
  if (status != kOk) {
    co_await Refuse(status, MessageOf(status));
    co_return false;
  }
  const Active active(shared_);
  HttpRequest request = HeadOf(parser);
  framing_ = {.http10 = parser.get().version() < 11,
              .keep_alive = parser.keep_alive() && shared_.accepting,
              .head_only = request.method == "HEAD"};
  if (const std::string* id = request.Find(kRequestIdField)) framing_.request_id = *id;
  const std::optional<HttpReply> refusal = shared_.service.Refuse(request);
  if (refusal) {
    must_linger_ = !parser.is_done();
    framing_.keep_alive = framing_.keep_alive && !must_linger_;
    const bool written = co_await WriteReply(*refusal);
    co_return written&& framing_.keep_alive;
  }
  const bool complete = co_await ReadBody(parser, request);
  if (!complete) co_return false;
  ClearDeadline();
  const bool answered = co_await Answer(request);
  co_return answered&& framing_.keep_alive;
}

asio::awaitable<bool> Session::ReadBody(Parser& parser, HttpRequest& request) {
  if (parser.is_done()) co_return true;
  request.body_share = ByteShare(shared_.body_budget);
  if (!request.body_share.GrowTo(parser.content_length().value_or(0))) {
    co_await Refuse(503, MessageOf(503));
    co_return false;
  }
  SetDeadline(std::chrono::seconds(shared_.limits.body_timeout_s));
  const std::string* expectation = request.Find("Expect");
  if (expectation != nullptr && EqualsIgnoringCase(*expectation, "100-continue") && !framing_.http10) {
    const SteadyClock::time_point deadline = deadline_;
    out_ = "HTTP/1.1 100 Continue\r\n\r\n";
    const bool written = co_await Write();
    if (!written) co_return false;
    deadline_ = deadline;
  }
  parser.eager(true);
  const int status = co_await Parse(parser, &request.body_share);
  if (status != kOk) {
    co_await Refuse(status, status == 400 ? "the request's body is malformed" : MessageOf(status));
    co_return false;
  }
  request.body = std::move(parser.get().body());
  co_return true;
}

asio::awaitable<void> Session::Refuse(int status, std::string_view message) {
  if (status == kGone) co_return;
  timed_out_ = false;
  must_linger_ = true;
  framing_ = {.keep_alive = false};
  const HttpReply reply = shared_.service.ProtocolError(status, message);
  co_await WriteReply(reply);
}

asio::awaitable<bool> Session::WriteReply(const HttpReply& reply) {
  shared_.service.CountReply(reply.status);
  out_.clear();
  AppendReply(reply, framing_, out_);
  const bool written = co_await Write();
  co_return written;
}

// Writes out_ and clears it. Each part that the client takes gives it the whole time limit again.
asio::awaitable<bool> Session::Write() {
  size_t done = 0;
  writing_ = true;
  while (done < out_.size() && !gone_) {
    SetDeadline(std::chrono::seconds(shared_.limits.write_timeout_s));
    error_code error;
    const auto rest = asio::buffer(out_) + done;
    done += co_await socket_.async_write_some(rest, asio::redirect_error(asio::use_awaitable, error));
    if (error) gone_ = true;
  }
  writing_ = false;
  ClearDeadline();
  out_.clear();
  co_return !gone_;
}

asio::awaitable<bool> Session::Answer(HttpRequest& request) {
  std::function<void()> notify = [queue = io_.wake_queue(), weak = weak_from_this()] { queue->Add(weak); };
  const std::unique_ptr<HttpExchange> exchange = shared_.service.Start(std::move(request), std::move(notify));
  Watch();
  const HttpReply* head = exchange->Head();
  while (head == nullptr && !gone_) {
    co_await AwaitWake();
    head = exchange->Head();
  }
  bool written = false;
  if (gone_) {
    co_return false;
  } else if (head->streams && !framing_.head_only) {
    shared_.service.CountReply(head->status);
    AppendReply(*head, framing_, out_);
    written = co_await Stream(*exchange);
    if (framing_.http10) framing_.keep_alive = false;
    co_await StopWatching();
  } else {
    co_await StopWatching();
    written = co_await WriteReply(*head);
  }
  co_return written;
}

// The head is in out_ already.
asio::awaitable<bool> Session::Stream(HttpExchange& exchange) {
  bool last = false;
  while (!gone_) {
    const size_t chunk = framing_.http10 ? 0 : BeginChunk(out_);
    last = exchange.Read(out_);
    if (!framing_.http10) {
      EndChunk(chunk, out_);
      if (last) out_ += kLastChunk;
    }
    if (!out_.empty()) co_await Write();
    if (last) break;
    co_await AwaitWake();
  }
  co_return last && !gone_;
}

// Reads on for a moment after the last answer, so that closing does not destroy it.
asio::awaitable<void> Session::Linger() {
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  SetDeadline(kLingerTime);
  size_t discarded = 0;
  bool more = true;
  while (more && discarded < kMaxDiscardedBytes) {
    discarded += buffer_.size();
    buffer_.consume(buffer_.size());
    more = co_await ReadMore();
  }
}

}  // namespace quire::server
