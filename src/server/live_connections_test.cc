// How a live server treats its connections: what is not HTTP, limits, clients that are slow or gone, many at once, the
// end, addresses.
#include <netdb.h>

#include <functional>
#include <random>

#include "server/live_server_testing.h"

namespace quire::server {
namespace {

using LiveConnections = LiveServer;

TEST_F(LiveConnections, GarbageBodiesAreRefusedOnEveryRoute) {
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

TEST_F(LiveConnections, BytesThatAreNotHttpAreRefused) {
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

TEST_F(LiveConnections, LimitsSizes) {
  Start({.limits = {.max_header_bytes = 2048, .max_body_bytes = 1000}});
  EXPECT_EQ(Ask(Get("/version", "X: " + std::string(4000, 'x') + "\r\n")).status, 431);
  EXPECT_EQ(Ask(Post("/tokenize", std::string(1001, ' '))).status, 413);
  Client client = Connect();
  client.Send("POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" +
              std::string(2000, ' ') + "\r\n0\r\n\r\n");
  EXPECT_EQ(client.Read().status, 413);
}

TEST_F(LiveConnections, BodiesThatWaitToBeReadHaveALimitTogether) {
  Start({.limits = {.max_body_bytes = 1000, .max_total_body_bytes = 1500}});
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

TEST_F(LiveConnections, BodiesOfRequestsThatRunDoNotCount) {
  StartSlow({.limits = {.max_body_bytes = 1000, .max_total_body_bytes = 1500}});
  Client stream = Connect();
  stream.Send(Completion(7000, R"(, "stream": true)", std::string(800, 'x')));
  ASSERT_TRUE(stream.ReadUntil("data: "));
  const std::string body = R"({"tokens": [72]})" + std::string(900, ' ');
  EXPECT_TRUE(Eventually([&] { return Ask(Post("/detokenize", body)).status == 200; }));
  EXPECT_EQ(model_->engine().Stats().scheduler.num_running, 1U);
}

TEST_F(LiveConnections, SlowRequestsTimeOut) {
  Start({.limits = {.header_timeout_s = 1, .body_timeout_s = 1, .keep_alive_s = 1}});
  Client head = Connect(), body = Connect(), silent = Connect();
  head.Send("GET /vers");
  body.Send("POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{");
  EXPECT_EQ(head.Read().status, 408);
  EXPECT_EQ(body.Read().status, 408);
  EXPECT_EQ(silent.ReadAll(), "");
}

TEST_F(LiveConnections, ReadsChunkedBodiesAndContinues) {
  Start();
  Client client = Connect();
  client.Send("POST /detokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.Read().status, 100);
  client.Send("8\r\n{\"tokens\r\n8\r\n\": [72]}\r\n0\r\n\r\n");
  EXPECT_EQ(client.Read().json()["prompt"], "h");
}

TEST_F(LiveConnections, AnswersPipelinedRequestsInOrder) {
  Start();
  Client client = Connect();
  client.Send(Completion(30) + Get("/version") + Completion(5, R"(, "stream": true)") +
              Post("/detokenize", R"({"tokens": [72]})"));
  EXPECT_EQ(client.Read().json()["choices"][0]["text"], Says("hello", 30));
  EXPECT_TRUE(client.Read().json().contains("version"));
  EXPECT_FALSE(Events(client.Read().body).empty());
  EXPECT_EQ(client.Read().json()["prompt"], "h");
}

TEST_F(LiveConnections, SpeaksHttp10) {
  Start();
  Client client = Connect();
  const std::string body = R"({"prompt": "hello", "seed": 1, "max_tokens": 5, "stream": true})";
  client.Send("POST /v1/completions HTTP/1.0\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  const std::string all = client.ReadAll();
  EXPECT_EQ(all.find("chunked"), std::string::npos);
  EXPECT_FALSE(Events(all.substr(all.find("\r\n\r\n") + 4)).empty());
}

TEST_F(LiveConnections, HangingUpFreesTheSequenceOfAStream) {
  StartSlow();
  Client client = Connect();
  client.Send(Completion(8000, R"(, "stream": true)"));
  ASSERT_TRUE(client.ReadUntil("data: "));
  client.HangUp();
  EXPECT_TRUE(BecomesIdle());
  EXPECT_EQ(model_->engine().Stats().finished[FinishReason::kAbort], 1U);
}

TEST_F(LiveConnections, HangingUpFreesTheSequenceOfAWholeAnswer) {
  StartSlow();
  Client client = Connect();
  client.Send(Completion(8000));
  ASSERT_TRUE(Eventually([&] { return model_->engine().Stats().scheduler.num_running == 1; }));
  client.HangUp();
  EXPECT_TRUE(BecomesIdle());
  EXPECT_EQ(model_->engine().Stats().finished[FinishReason::kAbort], 1U);
}

TEST_F(LiveConnections, ClientThatDoesNotReadIsCutOff) {
  Start({.limits = {.write_timeout_s = 1}});
  Client client = Connect(4096);
  client.Send(Completion(8000, R"(, "stream": true, "logprobs": 20)"));
  ASSERT_TRUE(client.ReadUntil("data: "));
  EXPECT_TRUE(BecomesIdle());
  EXPECT_FALSE(client.ReadAll().ends_with("data: [DONE]\n\n0\r\n\r\n"));
}

TEST_F(LiveConnections, FullQueueIs429) {
  StartSlow({}, {.max_num_seqs = 2, .max_queued_requests = 2});
  std::vector<Client> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(Connect());
    clients.back().Send(Completion(8000));
  }
  ASSERT_TRUE(Eventually([&] {
    const StatsSnapshot stats = model_->engine().Stats();
    return stats.scheduler.num_running + stats.scheduler.num_waiting == 4;
  }));
  const Reply reply = Ask(Completion(1));
  EXPECT_EQ(reply.status, 429);
  EXPECT_NE(reply.head.find("Retry-After: "), std::string::npos);
  clients.clear();
  EXPECT_TRUE(BecomesIdle());
  EXPECT_EQ(Ask(Completion(1)).status, 200);
}

TEST_F(LiveConnections, TooManyWaitingTokensAre429) {
  StartSlow({}, {.max_num_seqs = 1, .max_queued_tokens = 10});
  Client running = Connect(), waiting = Connect();
  running.Send(Completion(8000));
  ASSERT_TRUE(Eventually([&] { return model_->engine().Stats().scheduler.num_running == 1; }));
  waiting.Send(Completion(8000));
  ASSERT_TRUE(Eventually([&] { return model_->engine().Stats().scheduler.num_waiting == 1; }));
  const Reply reply = Ask(Completion(1));
  EXPECT_EQ(reply.status, 429);
  EXPECT_NE(reply.head.find("Retry-After: "), std::string::npos);
  EXPECT_NE(reply.body.find("tokens wait"), std::string::npos);
}

TEST_F(LiveConnections, ManyConnectionsAtOnceGetTheirOwnAnswers) {
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

TEST_F(LiveConnections, TurnsConnectionsAwayBeyondTheLimit) {
  Start({.limits = {.max_connections = 2}});
  Client first = Connect(), second = Connect();
  first.Send(Get("/version"));
  second.Send(Get("/version"));
  EXPECT_EQ(first.Read().status, 200);
  EXPECT_EQ(second.Read().status, 200);
  EXPECT_EQ(Connect().Read().status, 503);
  first.HangUp();
  EXPECT_TRUE(Eventually([&] { return Ask(Get("/version")).status == 200; }));
}

TEST_F(LiveConnections, DrainingLetsStreamsFinish) {
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

TEST_F(LiveConnections, StoppingEndsStreams) {
  StartSlow();
  Client stream = Connect();
  stream.Send(Completion(8000, R"(, "stream": true)"));
  ASSERT_TRUE(stream.ReadUntil("data: "));
  server_->Stop();
  EXPECT_EQ(server_->num_active_requests(), 0U);
  EXPECT_TRUE(Eventually([&] { return model_->engine().Drained(); }));
  EXPECT_EQ(stream.ReadAll().find("[DONE]"), std::string::npos);
}

TEST_F(LiveConnections, FailedEngineTellsEveryone) {
  StartSlow();
  Client stream = Connect(), whole = Connect();
  stream.Send(Completion(8000, R"(, "stream": true)"));
  whole.Send(Completion(8000));
  ASSERT_TRUE(stream.ReadUntil("data: "));
  ASSERT_TRUE(Eventually([&] { return model_->engine().Stats().scheduler.num_running == 2; }));
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

TEST_F(LiveConnections, ListensOnEveryAddressOfItsHost) {
  Start({.host = "localhost"});
  const Addresses any("localhost", "0"), served("localhost", std::to_string(server_->port()));
  ASSERT_NE(any.first(), nullptr);
  const addrinfo* at = any.first();
  for (const addrinfo* to = served.first(); to != nullptr && at != nullptr; to = to->ai_next, at = at->ai_next) {
    EXPECT_EQ(Can(connect, *to), Can(bind, *at)) << "family " << to->ai_family;
  }
}

TEST_F(LiveConnections, UsedPortIsAnErrorThatNamesIt) {
  Start();
  ServerOptions options;
  options.port = server_->port();
  const auto second = HttpServer::Start(options, model_->served());
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find(std::to_string(options.port)), std::string::npos);
}

}  // namespace
}  // namespace quire::server
