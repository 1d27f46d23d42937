// A live server on a free port, spoken to by raw sockets: what the tests of answers and of connections share.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/served_model_testing.h"
#include "server/server.h"

namespace quire::server {

using nlohmann::ordered_json;
using std::chrono::milliseconds;

struct Reply {
  int status = 0;
  std::string head;
  std::string body;
  ordered_json json() const { return ordered_json::parse(body, nullptr, false); }
};

// One connection. Reading gives up after ten seconds.
class Client {
 public:
  explicit Client(uint16_t port, int receive_buffer = 0) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    const timeval limit = {.tv_sec = 10, .tv_usec = 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Client() { HangUp(); }
  Client(Client&& other) noexcept
      : socket_(std::exchange(other.socket_, -1)), connected_(other.connected_), read_(std::move(other.read_)) {}

  bool connected() const { return connected_; }
  void HangUp() {
    if (socket_ >= 0) close(socket_);
    socket_ = -1;
  }
  void Send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<size_t>(sent));
    }
  }
  // What is read but not taken grows; false at the end.
  bool ReadMore() {
    char bytes[16384];
    const ssize_t size = recv(socket_, bytes, sizeof(bytes), 0);
    if (size > 0) read_.append(bytes, static_cast<size_t>(size));
    return size > 0;
  }
  bool ReadUntil(std::string_view text) {
    while (read_.find(text) == std::string::npos) {
      if (!ReadMore()) return false;
    }
    return true;
  }
  std::string ReadAll() {
    while (ReadMore()) {
    }
    return std::exchange(read_, {});
  }
  // One whole answer; status 0 if the connection ended before.
  Reply Read() {
    Reply reply;
    if (!ReadUntil("\r\n\r\n")) return reply;
    reply.head = Take(read_.find("\r\n\r\n") + 4);
    reply.status = std::stoi(reply.head.substr(9, 3));
    if (const size_t at = reply.head.find("Content-Length: "); at != std::string::npos) {
      const size_t size = std::stoul(reply.head.substr(at + 16));
      while (read_.size() < size && ReadMore()) {
      }
      reply.body = Take(std::min(size, read_.size()));
    } else if (reply.head.find("Transfer-Encoding: chunked") != std::string::npos) {
      while (ReadUntil("\r\n")) {
        const size_t size = std::stoul(read_, nullptr, 16);
        Take(read_.find("\r\n") + 2);
        while (read_.size() < size + 2 && ReadMore()) {
        }
        reply.body += Take(std::min(size, read_.size()));
        Take(std::min<size_t>(2, read_.size()));
        if (size == 0) break;
      }
    }
    return reply;
  }

 private:
  std::string Take(size_t size) {
    std::string taken = read_.substr(0, size);
    read_.erase(0, size);
    return taken;
  }

  int socket_;
  bool connected_ = false;
  std::string read_;
};

inline std::string Get(const std::string& path, const std::string& fields = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n";
}
inline std::string Post(const std::string& path, const std::string& body, const std::string& fields = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + fields +
         "\r\n" + body;
}
inline std::string Completion(int max_tokens, const std::string& more = "", const std::string& prompt = "hello") {
  return Post("/v1/completions",
              R"({"prompt": ")" + prompt + R"(", "seed": 1, "max_tokens": )" + std::to_string(max_tokens) + more + "}");
}

// The events of a stream, without the last one.
inline std::vector<ordered_json> Events(const std::string& body) {
  std::vector<ordered_json> events;
  size_t begin = 0;
  for (size_t end = body.find("\n\n"); end != std::string::npos; end = body.find("\n\n", begin)) {
    const std::string event = body.substr(begin, end - begin);
    begin = end + 2;
    EXPECT_TRUE(event.starts_with("data: "));
    if (event != "data: [DONE]") events.push_back(ordered_json::parse(event.substr(6)));
  }
  EXPECT_TRUE(body.ends_with("data: [DONE]\n\n"));
  return events;
}

class LiveServer : public testing::Test {
 protected:
  void Start(ServerOptions options = {}, const TestModelOptions& model_options = {}) {
    model_ = std::make_unique<TestModel>(model_options);
    options.port = 0;
    if (options.served_model_names.empty()) options.served_model_names = {"ascii"};
    Result<std::unique_ptr<HttpServer>> started = HttpServer::Start(options, model_->served());
    ASSERT_TRUE(started.ok()) << started.error().message;
    server_ = *std::move(started);
  }
  void StartSlow(ServerOptions options = {}, TestModelOptions model_options = {}) {
    model_options.pace = milliseconds(1);
    Start(std::move(options), model_options);
  }
  void TearDown() override { server_.reset(); }

  Client Connect(int receive_buffer = 0) const {
    Client client(server_->port(), receive_buffer);
    EXPECT_TRUE(client.connected());
    return client;
  }
  Reply Ask(const std::string& request) const {
    Client client = Connect();
    client.Send(request);
    return client.Read();
  }
  bool BecomesIdle() const {
    return Eventually([&] {
      return server_->num_active_requests() == 0 && model_->engine().Drained() &&
             model_->engine().Stats().scheduler.num_running == 0;
    });
  }
  static std::string Says(const std::string& prompt, uint32_t num_tokens, uint64_t seed = 1) {
    const AsciiTokenizer tokenizer;
    const auto ids = FakeRunner::Continue(*tokenizer.Encode(prompt, true), seed, num_tokens, AsciiTokenizer::kVocab);
    return tokenizer.Decode(ids, true);
  }

  std::unique_ptr<TestModel> model_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace quire::server
