// A live server on a free port, spoken to by raw sockets.
#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "server/server.h"
#include "server/test_model.h"

namespace quire::server {
namespace {

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

std::string Get(const std::string& path, const std::string& fields = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n";
}
std::string Post(const std::string& path, const std::string& body, const std::string& fields = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + fields +
         "\r\n" + body;
}
std::string Completion(int max_tokens, const std::string& more = "", const std::string& prompt = "hello") {
  return Post("/v1/completions",
              R"({"prompt": ")" + prompt + R"(", "seed": 1, "max_tokens": )" + std::to_string(max_tokens) + more + "}");
}

// The events of a stream, without the last one.
std::vector<ordered_json> Events(const std::string& body) {
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
  // Polls until `condition` holds; false after ten seconds.
  static bool Eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(milliseconds(5));
    }
    return false;
  }
  bool BecomesIdle() const {
    return Eventually([&] {
      return server_->num_active_requests() == 0 && model_->engine().Drained() &&
             model_->engine().Stats().num_running == 0;
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

TEST_F(LiveServer, AnswersEveryRouteThatIsRead) {
  Start();
  EXPECT_EQ(Ask(Get("/health")).status, 200);
  EXPECT_EQ(Ask(Get("/ping")).status, 200);
  EXPECT_TRUE(Ask(Get("/version")).json().contains("version"));
  const ordered_json models = Ask(Get("/v1/models")).json();
  EXPECT_EQ(models["data"][0]["id"], "ascii");
  EXPECT_EQ(models["data"][0]["max_model_len"], 8192);
  EXPECT_EQ(Ask(Get("/v1/models/ascii?x=1")).json()["object"], "model");
  EXPECT_EQ(Ask(Get("/v1/models/other")).status, 404);
  EXPECT_EQ(Ask(Get("http://somewhere/version")).status, 200);
  const Reply metrics = Ask(Get("/metrics"));
  EXPECT_NE(metrics.body.find("vllm:num_requests_running{model_name=\"ascii\""), std::string::npos);
  EXPECT_NE(metrics.body.find("vllm:time_to_first_token_seconds_bucket"), std::string::npos);
  EXPECT_NE(metrics.body.find("quire:http_requests_total"), std::string::npos);
}

TEST_F(LiveServer, RefusesWhatIsNoRoute) {
  Start();
  EXPECT_EQ(Ask(Get("/nowhere")).json()["error"]["code"], "not_found");
  const Reply wrong_method = Ask(Get("/v1/completions"));
  EXPECT_EQ(wrong_method.status, 405);
  EXPECT_NE(wrong_method.head.find("Allow: POST"), std::string::npos);
  EXPECT_EQ(Ask("OPTIONS /v1/completions HTTP/1.1\r\nHost: x\r\n\r\n").status, 204);
  Client client = Connect();
  client.Send("HEAD /version HTTP/1.1\r\nHost: x\r\n\r\n" + Get("/version", "Connection: close\r\n"));
  const std::string both = client.ReadAll();
  EXPECT_EQ(both.find("{\"version\""), both.rfind("{\"version\"")) << "HEAD has no body";
}

TEST_F(LiveServer, CompletionIsWhatTheModelSays) {
  Start();
  const ordered_json answer = Ask(Completion(20)).json();
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_EQ(answer["choices"][0]["text"], Says("hello", 20));
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 6);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 20);
  const ordered_json chat = Ask(Post("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "q"}],
      "max_tokens": 4, "logprobs": true, "top_logprobs": 2})"))
                                .json();
  EXPECT_EQ(chat["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(chat["choices"][0]["logprobs"]["content"].size(), 4U);
  EXPECT_EQ(chat["choices"][0]["logprobs"]["content"][0]["top_logprobs"].size(), 2U);
}

TEST_F(LiveServer, StreamConcatenatesToTheWholeAnswer) {
  Start();
  const Reply reply =
      Ask(Completion(50, R"(, "stream": true, "stream_options": {"include_usage": true}, "return_token_ids": true)"));
  EXPECT_NE(reply.head.find("text/event-stream"), std::string::npos);
  std::string text;
  size_t num_ids = 0;
  const std::vector<ordered_json> events = Events(reply.body);
  for (const ordered_json& event : events) {
    if (event["choices"].empty()) continue;
    text += event["choices"][0]["text"].get<std::string>();
    num_ids += event["choices"][0]["token_ids"].size();
    EXPECT_TRUE(event["usage"].is_null());
  }
  EXPECT_EQ(text, Says("hello", 50));
  EXPECT_EQ(num_ids, 50U);
  EXPECT_EQ(events.front()["choices"][0]["prompt_token_ids"].size(), 6U);
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], 50);
}

TEST_F(LiveServer, ChoicesAreNumberedPromptByPrompt) {
  Start();
  const ordered_json answer =
      Ask(Post("/v1/completions", R"({"prompt": ["a", "b"], "n": 2, "seed": 5, "max_tokens": 8})")).json();
  ASSERT_EQ(answer["choices"].size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(answer["choices"][i]["index"], i);
    EXPECT_EQ(answer["choices"][i]["text"], Says(i < 2 ? "a" : "b", 8, 5 + i % 2));
  }
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 4) << "a prompt counts once";
}

TEST_F(LiveServer, StreamsEveryChoiceOfEveryPrompt) {
  Start();
  const Reply reply =
      Ask(Post("/v1/completions", R"({"prompt": ["a", "b"], "n": 2, "seed": 5, "max_tokens": 8, "stream": true})"));
  std::vector<std::string> texts(4);
  int num_ends = 0;
  for (const ordered_json& event : Events(reply.body)) {
    const ordered_json& choice = event["choices"][0];
    texts.at(choice["index"].get<size_t>()) += choice["text"].get<std::string>();
    num_ends += choice["finish_reason"] == "length";
  }
  EXPECT_EQ(num_ends, 4);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(texts[i], Says(i < 2 ? "a" : "b", 8, 5 + i % 2));
  EXPECT_EQ(model_->engine().Stats().prefix_queries, 4U) << "a prompt is submitted once";
}

TEST_F(LiveServer, BestOfReturnsAndCountsTheBestOnly) {
  Start();
  const ordered_json answer =
      Ask(Post("/v1/completions", R"({"prompt": "a", "best_of": 4, "seed": 5, "max_tokens": 8})")).json();
  ASSERT_EQ(answer["choices"].size(), 1U);
  EXPECT_TRUE(answer["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(answer["usage"]["completion_tokens"], 8);
  bool said = false;
  for (uint64_t stream = 0; stream < 4; ++stream) said |= answer["choices"][0]["text"] == Says("a", 8, 5 + stream);
  EXPECT_TRUE(said);
  EXPECT_EQ(model_->engine().Stats().generation_tokens, 32U);
}

TEST_F(LiveServer, BeamsAreChoicesWithScores) {
  Start();
  const std::string body = R"({"prompt": "a", "use_beam_search": true, "n": 2, "beam_width": 3, "max_tokens": 6)";
  const ordered_json answer = Ask(Post("/v1/completions", body + "}")).json();
  ASSERT_EQ(answer["choices"].size(), 2U);
  EXPECT_GE(answer["choices"][0]["score"].get<double>(), answer["choices"][1]["score"].get<double>());
  std::vector<std::string> texts(2);
  for (const ordered_json& event : Events(Ask(Post("/v1/completions", body + R"(, "stream": true})")).body)) {
    texts.at(event["choices"][0]["index"].get<size_t>()) += event["choices"][0]["text"].get<std::string>();
  }
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(answer["choices"][i]["text"], texts[i]);
}

TEST_F(LiveServer, ShowsWhereEverySlotIs) {
  StartSlow();
  Client client = Connect();
  client.Send(Completion(8000, R"(, "stream": true, "n": 2)"));
  ASSERT_TRUE(client.ReadUntil("data: "));
  const ordered_json kv = Ask(Get("/debug/kv")).json();
  uint64_t total = 0;
  for (const auto& [state, slots] : kv["slots"].items()) total += slots.get<uint64_t>();
  EXPECT_EQ(total, kv["block_size"].get<uint64_t>() * kv["num_blocks"].get<uint64_t>());
  EXPECT_EQ(total, kv["total_slots"]);
  ASSERT_EQ(kv["requests"].size(), 1U);
  EXPECT_TRUE(kv["requests"][0]["id"].get<std::string>().starts_with("cmpl-"));
  EXPECT_EQ(kv["requests"][0]["state"], "running");
  ASSERT_EQ(kv["requests"][0]["sequences"].size(), 2U);
  EXPECT_FALSE(kv["requests"][0]["sequences"][1]["blocks"].empty());
  const std::string metrics = Ask(Get("/metrics")).body;
  EXPECT_NE(metrics.find("quire:kv_slots{model_name=\"ascii\",engine=\"0\",state=\"token\"}"), std::string::npos);
  EXPECT_NE(metrics.find("quire:kv_slot_seconds_total"), std::string::npos);
}

TEST_F(LiveServer, ResetsThePrefixCacheUnlessItIsInUse) {
  StartSlow();
  Client client = Connect();
  client.Send(Completion(8000, R"(, "stream": true)"));
  ASSERT_TRUE(client.ReadUntil("data: "));
  const Reply refused = Ask(Post("/reset_prefix_cache", ""));
  EXPECT_EQ(refused.status, 409);
  EXPECT_NE(refused.json()["error"]["message"].get<std::string>().find("in use"), std::string::npos);
  client.HangUp();
  ASSERT_TRUE(BecomesIdle());
  EXPECT_EQ(Ask(Post("/reset_prefix_cache", "")).status, 200);
  EXPECT_EQ(model_->engine().Stats().blocks_cached, 0U);
  EXPECT_EQ(Ask(Get("/reset_prefix_cache")).status, 405);
}

TEST_F(LiveServer, EchoScoresThePromptAndMayGenerateNothing) {
  Start();
  const ordered_json answer = Ask(Completion(0, R"(, "echo": true, "logprobs": 2)")).json();
  const ordered_json& choice = answer["choices"][0];
  EXPECT_EQ(choice["text"], "hello");
  ASSERT_EQ(choice["logprobs"]["tokens"].size(), 6U);
  EXPECT_TRUE(choice["logprobs"]["token_logprobs"][0].is_null());
  EXPECT_TRUE(choice["logprobs"]["token_logprobs"][1].is_number());
  EXPECT_EQ(answer["usage"]["completion_tokens"], 0);
}

TEST_F(LiveServer, OffsetsOfAnEchoPointIntoTheText) {
  Start();
  for (const char* prompt : {R"("hello")", R"([95, 40, 95, 41])"}) {
    const ordered_json choice =
        Ask(Post("/v1/completions", std::string(R"({"prompt": )") + prompt +
                                        R"(, "seed": 1, "max_tokens": 300, "echo": true, "logprobs": 0})"))
            .json()["choices"][0];
    const std::string text = choice["text"];
    const ordered_json& tokens = choice["logprobs"]["tokens"];
    std::string spoken;
    for (size_t i = 0; i < tokens.size(); ++i) {
      EXPECT_EQ(choice["logprobs"]["text_offset"][i], spoken.size()) << prompt << " token " << i;
      const auto token = tokens[i].get<std::string>();
      if (token != "<s>") spoken += token;
    }
    EXPECT_EQ(spoken, text);
  }
}

TEST_F(LiveServer, TruncatedPromptsAreEchoedAsFarAsTheyAreKept) {
  Start();
  const ordered_json choice =
      Ask(Completion(0, R"(, "echo": true, "logprobs": 0, "truncate_prompt_tokens": 2)")).json()["choices"][0];
  EXPECT_EQ(choice["text"], "lo");
  EXPECT_EQ(choice["logprobs"]["tokens"], ordered_json::array({"l", "o"}));
  EXPECT_EQ(choice["logprobs"]["text_offset"], ordered_json::array({0, 1}));
}

TEST_F(LiveServer, UnknownFieldsAreCountedOnEveryRoute) {
  Start();
  const std::string messages = R"({"messages": [{"role": "user", "content": "q"}], "max_tokens": 1, "mystery": 1})";
  EXPECT_EQ(Ask(Post("/v1/completions", R"({"prompt": "a", "max_tokens": 1, "mystery": 1})")).status, 200);
  EXPECT_EQ(Ask(Post("/v1/completions", R"({"prompt": "a", "max_tokens": 0, "mystery": 1})")).status, 400);
  EXPECT_EQ(Ask(Post("/v1/chat/completions", messages)).status, 200);
  EXPECT_EQ(Ask(Post("/tokenize", R"({"prompt": "a", "mystery": 1})")).status, 200);
  EXPECT_EQ(Ask(Post("/tokenize", R"({"add_special_tokens": false, "mystery": 1})")).status, 400);
  EXPECT_EQ(Ask(Post("/detokenize", R"({"tokens": [1], "mystery": 1})")).status, 200);
  const std::string metrics = Ask(Get("/metrics")).body;
  EXPECT_NE(metrics.find("quire:unknown_request_fields_total{model_name=\"ascii\",engine=\"0\"} 6"), std::string::npos);
}

TEST_F(LiveServer, TokenizesAndBack) {
  Start();
  const ordered_json tokens = Ask(Post("/tokenize", R"({"prompt": "hi", "return_token_strs": true})")).json();
  EXPECT_EQ(tokens["count"], 3);
  EXPECT_EQ(tokens["token_strs"], ordered_json::array({"<s>", "h", "i"}));
  EXPECT_EQ(Ask(Post("/detokenize", R"({"tokens": [72, 73]})")).json()["prompt"], "hi");
  EXPECT_EQ(Ask(Post("/detokenize", R"({"tokens": [96]})")).status, 400);
  EXPECT_EQ(Ask(Post("/tokenize", R"({"messages": [{"role": "user", "content": "q"}]})")).json()["count"], 17);
}

TEST_F(LiveServer, TooLongPromptsAreRefusedWithTheNumbers) {
  Start({}, {.max_model_len = 64});
  const Reply prompt = Ask(Completion(1, "", std::string(64, 'x')));
  EXPECT_EQ(prompt.status, 400);
  EXPECT_EQ(prompt.json()["error"]["code"], "context_length_exceeded");
  EXPECT_NE(prompt.json()["error"]["message"].get<std::string>().find("65"), std::string::npos);
  EXPECT_EQ(Ask(Completion(59)).json()["error"]["param"], "max_tokens");
  EXPECT_EQ(Ask(Completion(58)).status, 200);
}

TEST_F(LiveServer, GarbageBodiesAreRefusedOnEveryRoute) {
  Start();
  constexpr uint32_t kSeed = 20240607;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  const std::string good = R"({"model": "ascii", "prompt": "a", "messages": [{"role": "user", "content": "x"}],
                               "tokens": [1, 2], "max_tokens": 3, "stop": ["z"], "logit_bias": {"3": 1.0}})";
  for (const char* path : {"/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"}) {
    for (int i = 0; i < 50; ++i) {
      std::string body = good;
      for (int edit = 0; edit < 1 + i % 7; ++edit) body[random() % body.size()] = static_cast<char>(random());
      if (i % 5 == 0) body.resize(random() % body.size());
      const Reply reply = Ask(Post(path, body));
      EXPECT_TRUE(reply.status == 200 || reply.status == 400 || reply.status == 404) << reply.status << " " << body;
      EXPECT_FALSE(reply.json().is_discarded());
    }
  }
  EXPECT_TRUE(BecomesIdle());
  EXPECT_EQ(Ask(Get("/health")).status, 200);
}

TEST_F(LiveServer, BytesThatAreNotHttpAreRefused) {
  Start();
  std::mt19937 random(7);
  for (int i = 0; i < 30; ++i) {
    std::string bytes(200, ' ');
    for (char& byte : bytes) byte = static_cast<char>(random());
    Client client = Connect();
    client.Send(bytes + "\r\n\r\n");
    EXPECT_EQ(client.Read().status, 400);
  }
  Client client = Connect();
  client.Send("POST /v1/completions HTTP/1.1\r\nContent-Length: x\r\n\r\n");
  EXPECT_EQ(client.Read().status, 400);
}

TEST_F(LiveServer, LimitsSizes) {
  Start({.max_header_bytes = 2048, .max_body_bytes = 1000});
  EXPECT_EQ(Ask(Get("/version", "X: " + std::string(4000, 'x') + "\r\n")).status, 431);
  EXPECT_EQ(Ask(Post("/tokenize", std::string(1001, ' '))).status, 413);
  Client client = Connect();
  client.Send("POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" +
              std::string(2000, ' ') + "\r\n0\r\n\r\n");
  EXPECT_EQ(client.Read().status, 413);
}

TEST_F(LiveServer, BodiesThatWaitToBeReadHaveALimitTogether) {
  Start({.max_body_bytes = 1000, .max_total_body_bytes = 1500});
  const std::string head = "POST /detokenize HTTP/1.1\r\nHost: x\r\n";
  const std::string body = R"({"tokens": [72]})" + std::string(700, ' ');
  Client first = Connect();
  first.Send(head + "Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_EQ(first.Read().status, 100);
  const Reply announced = Ask(Post("/detokenize", body));
  EXPECT_EQ(announced.status, 503);
  EXPECT_NE(announced.head.find("Retry-After: "), std::string::npos);
  EXPECT_NE(announced.body.find("try again later"), std::string::npos);
  EXPECT_EQ(Ask(head + "Transfer-Encoding: chunked\r\n\r\n258\r\n" + body.substr(0, 600) + "\r\n").status, 503);
  EXPECT_EQ(Ask(Post("/detokenize", R"({"tokens": [72]})")).status, 200) << "there is room for it";
  first.HangUp();
  EXPECT_TRUE(Eventually([&] { return Ask(Post("/detokenize", body)).status == 200; }));
}

TEST_F(LiveServer, BodiesOfRequestsThatRunDoNotCount) {
  StartSlow({.max_body_bytes = 1000, .max_total_body_bytes = 1500});
  Client stream = Connect();
  stream.Send(Completion(7000, R"(, "stream": true)", std::string(800, 'x')));
  ASSERT_TRUE(stream.ReadUntil("data: "));
  const std::string body = R"({"tokens": [72]})" + std::string(900, ' ');
  EXPECT_TRUE(Eventually([&] { return Ask(Post("/detokenize", body)).status == 200; }));
  EXPECT_EQ(model_->engine().Stats().num_running, 1U);
}

TEST_F(LiveServer, SlowRequestsTimeOut) {
  Start({.header_timeout_s = 1, .body_timeout_s = 1, .keep_alive_s = 1});
  Client head = Connect(), body = Connect(), silent = Connect();
  head.Send("GET /vers");
  body.Send("POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{");
  EXPECT_EQ(head.Read().status, 408);
  EXPECT_EQ(body.Read().status, 408);
  EXPECT_EQ(silent.ReadAll(), "");
}

TEST_F(LiveServer, ReadsChunkedBodiesAndContinues) {
  Start();
  Client client = Connect();
  client.Send("POST /detokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.Read().status, 100);
  client.Send("8\r\n{\"tokens\r\n8\r\n\": [72]}\r\n0\r\n\r\n");
  EXPECT_EQ(client.Read().json()["prompt"], "h");
}

TEST_F(LiveServer, AnswersPipelinedRequestsInOrder) {
  Start();
  Client client = Connect();
  client.Send(Completion(30) + Get("/version") + Completion(5, R"(, "stream": true)") +
              Post("/detokenize", R"({"tokens": [72]})"));
  EXPECT_EQ(client.Read().json()["choices"][0]["text"], Says("hello", 30));
  EXPECT_TRUE(client.Read().json().contains("version"));
  EXPECT_FALSE(Events(client.Read().body).empty());
  EXPECT_EQ(client.Read().json()["prompt"], "h");
}

TEST_F(LiveServer, SpeaksHttp10) {
  Start();
  Client client = Connect();
  const std::string body = R"({"prompt": "hello", "seed": 1, "max_tokens": 5, "stream": true})";
  client.Send("POST /v1/completions HTTP/1.0\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  const std::string all = client.ReadAll();
  EXPECT_EQ(all.find("chunked"), std::string::npos);
  EXPECT_FALSE(Events(all.substr(all.find("\r\n\r\n") + 4)).empty());
}

TEST_F(LiveServer, KeyGuardsEveryRouteButHealth) {
  Start({.api_keys = {"secret", "other"}});
  EXPECT_EQ(Ask(Get("/health")).status, 200);
  for (const char* path : {"/metrics", "/v1/models", "/version", "/ping", "/debug/kv", "/nowhere"}) {
    EXPECT_EQ(Ask(Get(path)).status, 401) << path;
  }
  EXPECT_EQ(Ask(Completion(1)).status, 401);
  EXPECT_EQ(Ask(Get("/version", "Authorization: Bearer secrer\r\n")).json()["error"]["code"], "invalid_api_key");
  EXPECT_EQ(Ask(Get("/version", "Authorization: Bearer \r\n")).status, 401);
  EXPECT_EQ(Ask(Get("/version", "Authorization: Bearer secret\r\n")).status, 200);
  EXPECT_EQ(Ask(Get("/version", "authorization: bearer other\r\n")).status, 200);
}

TEST_F(LiveServer, MetricsMayBeOpen) {
  Start({.api_keys = {"secret"}, .no_key_for_metrics = true});
  EXPECT_EQ(Ask(Get("/metrics")).status, 200);
  EXPECT_EQ(Ask(Get("/version")).status, 401);
}

TEST_F(LiveServer, HangingUpFreesTheSequenceOfAStream) {
  StartSlow();
  Client client = Connect();
  client.Send(Completion(8000, R"(, "stream": true)"));
  ASSERT_TRUE(client.ReadUntil("data: "));
  client.HangUp();
  EXPECT_TRUE(BecomesIdle());
  EXPECT_EQ(model_->engine().Stats().requests_abort, 1U);
}

TEST_F(LiveServer, HangingUpFreesTheSequenceOfAWholeAnswer) {
  StartSlow();
  Client client = Connect();
  client.Send(Completion(8000));
  ASSERT_TRUE(Eventually([&] { return model_->engine().Stats().num_running == 1; }));
  client.HangUp();
  EXPECT_TRUE(BecomesIdle());
  EXPECT_EQ(model_->engine().Stats().requests_abort, 1U);
}

TEST_F(LiveServer, ClientThatDoesNotReadIsCutOff) {
  Start({.write_timeout_s = 1});
  Client client = Connect(4096);
  client.Send(Completion(8000, R"(, "stream": true, "logprobs": 20)"));
  ASSERT_TRUE(client.ReadUntil("data: "));
  EXPECT_TRUE(BecomesIdle());
  EXPECT_FALSE(client.ReadAll().ends_with("data: [DONE]\n\n0\r\n\r\n"));
}

TEST_F(LiveServer, FullQueueIs429) {
  StartSlow({}, {.max_num_seqs = 2, .max_queued_requests = 2});
  std::vector<Client> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(Connect());
    clients.back().Send(Completion(8000));
  }
  ASSERT_TRUE(Eventually([&] {
    const StatsSnapshot stats = model_->engine().Stats();
    return stats.num_running + stats.num_waiting == 4;
  }));
  const Reply reply = Ask(Completion(1));
  EXPECT_EQ(reply.status, 429);
  EXPECT_NE(reply.head.find("Retry-After: "), std::string::npos);
  clients.clear();
  EXPECT_TRUE(BecomesIdle());
  EXPECT_EQ(Ask(Completion(1)).status, 200);
}

TEST_F(LiveServer, TooManyWaitingTokensAre429) {
  StartSlow({}, {.max_num_seqs = 1, .max_queued_tokens = 10});
  Client running = Connect(), waiting = Connect();
  running.Send(Completion(8000));
  ASSERT_TRUE(Eventually([&] { return model_->engine().Stats().num_running == 1; }));
  waiting.Send(Completion(8000));
  ASSERT_TRUE(Eventually([&] { return model_->engine().Stats().num_waiting == 1; }));
  const Reply reply = Ask(Completion(1));
  EXPECT_EQ(reply.status, 429);
  EXPECT_NE(reply.head.find("Retry-After: "), std::string::npos);
  EXPECT_NE(reply.body.find("tokens wait"), std::string::npos);
}

TEST_F(LiveServer, ManyConnectionsAtOnceGetTheirOwnAnswers) {
  Start({.num_io_threads = 2});
  constexpr size_t kClients = 100;
  std::vector<Client> clients;
  for (size_t i = 0; i < kClients; ++i) clients.push_back(Connect());
  for (size_t i = 0; i < kClients; ++i) {
    clients[i].Send(Completion(40, i % 2 == 0 ? R"(, "stream": true)" : "", "client " + std::to_string(i)));
  }
  for (size_t i = 0; i < kClients; ++i) {
    const Reply reply = clients[i].Read();
    std::string text;
    if (i % 2 == 0) {
      for (const ordered_json& event : Events(reply.body)) text += event["choices"][0]["text"].get<std::string>();
    } else {
      text = reply.json()["choices"][0]["text"];
    }
    EXPECT_EQ(text, Says("client " + std::to_string(i), 40));
  }
}

TEST_F(LiveServer, TurnsConnectionsAwayBeyondTheLimit) {
  Start({.max_connections = 2});
  Client first = Connect(), second = Connect();
  first.Send(Get("/version"));
  second.Send(Get("/version"));
  EXPECT_EQ(first.Read().status, 200);
  EXPECT_EQ(second.Read().status, 200);
  EXPECT_EQ(Connect().Read().status, 503);
  first.HangUp();
  EXPECT_TRUE(Eventually([&] { return Ask(Get("/version")).status == 200; }));
}

TEST_F(LiveServer, DrainingLetsStreamsFinish) {
  StartSlow();
  Client idle = Connect(), stream = Connect();
  idle.Send(Get("/version"));
  EXPECT_EQ(idle.Read().status, 200);
  stream.Send(Completion(200, R"(, "stream": true)"));
  ASSERT_TRUE(stream.ReadUntil("data: "));
  server_->StopAccepting();
  EXPECT_EQ(idle.ReadAll(), "") << "idle connections are closed";
  EXPECT_EQ(server_->num_active_requests(), 1U);
  EXPECT_FALSE(Events(stream.Read().body).empty());
  EXPECT_TRUE(BecomesIdle());
  EXPECT_FALSE(Client(server_->port()).connected());
}

TEST_F(LiveServer, StoppingEndsStreams) {
  StartSlow();
  Client stream = Connect();
  stream.Send(Completion(8000, R"(, "stream": true)"));
  ASSERT_TRUE(stream.ReadUntil("data: "));
  server_->Stop();
  EXPECT_EQ(server_->num_active_requests(), 0U);
  EXPECT_TRUE(Eventually([&] { return model_->engine().Drained(); }));
  EXPECT_EQ(stream.ReadAll().find("[DONE]"), std::string::npos);
}

TEST_F(LiveServer, FailedEngineTellsEveryone) {
  StartSlow();
  Client stream = Connect(), whole = Connect();
  stream.Send(Completion(8000, R"(, "stream": true)"));
  whole.Send(Completion(8000));
  ASSERT_TRUE(stream.ReadUntil("data: "));
  ASSERT_TRUE(Eventually([&] { return model_->engine().Stats().num_running == 2; }));
  model_->runner().FailNow();
  EXPECT_NE(stream.Read().body.find("the device is on fire"), std::string::npos);
  const Reply reply = whole.Read();
  EXPECT_EQ(reply.status, 503);
  EXPECT_NE(reply.body.find("the device is on fire"), std::string::npos);
  EXPECT_EQ(Ask(Get("/debug/kv")).status, 200) << "to see what it left";
  const Reply health = Ask(Get("/health"));
  EXPECT_EQ(health.status, 503);
  EXPECT_NE(health.body.find("the device is on fire"), std::string::npos);
  EXPECT_EQ(Ask(Completion(1)).status, 503);
}

// What a host and a port stand for.
class Addresses {
 public:
  Addresses(const char* host, const std::string& port) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE;
    EXPECT_EQ(getaddrinfo(host, port.c_str(), &hints, &first_), 0);
  }
  ~Addresses() {
    if (first_ != nullptr) freeaddrinfo(first_);
  }
  Addresses(const Addresses&) = delete;
  Addresses& operator=(const Addresses&) = delete;

  const addrinfo* first() const { return first_; }

 private:
  addrinfo* first_ = nullptr;
};

// Whether `use`, which is bind or connect, succeeds with the address.
bool Can(int (*use)(int, const sockaddr*, socklen_t), const addrinfo& address) {
  const int probe = socket(address.ai_family, SOCK_STREAM, 0);
  const bool can = probe >= 0 && use(probe, address.ai_addr, address.ai_addrlen) == 0;
  if (probe >= 0) close(probe);
  return can;
}

TEST_F(LiveServer, ListensOnEveryAddressOfItsHost) {
  Start({.host = "localhost"});
  const Addresses any("localhost", "0"), served("localhost", std::to_string(server_->port()));
  ASSERT_NE(any.first(), nullptr);
  const addrinfo* at = any.first();
  for (const addrinfo* to = served.first(); to != nullptr && at != nullptr; to = to->ai_next, at = at->ai_next) {
    EXPECT_EQ(Can(connect, *to), Can(bind, *at)) << "family " << to->ai_family;
  }
}

TEST_F(LiveServer, UsedPortIsAnErrorThatNamesIt) {
  Start();
  ServerOptions options;
  options.port = server_->port();
  const auto second = HttpServer::Start(options, model_->served());
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find(std::to_string(options.port)), std::string::npos);
}

}  // namespace
}  // namespace quire::server
