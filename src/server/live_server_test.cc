// What a live server answers, route by route.
#include "server/api/route.h"
#include "server/live_server_testing.h"

namespace quire::server {
namespace {

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
  EXPECT_NE(metrics.body.find("quire_http_requests_total"), std::string::npos);
}

TEST_F(LiveServer, PathsAreDecodedAndMayEndInASlash) {
  Start();
  EXPECT_EQ(Ask(Get("/v1/models/")).json()["object"], "list");
  EXPECT_EQ(Ask(Get("/%76%31/models/%61scii/")).json()["id"], "ascii");
  EXPECT_EQ(Ask(Post("/v1/completions/", R"({"prompt": "hello", "max_tokens": 1})")).status, 200);
  const ordered_json missing = Ask(Get("/v1/models/org%2Fna%20me%zz%0a")).json();
  EXPECT_EQ(missing["error"]["message"], "The model `org/na me%zz%0a` does not exist.");
  EXPECT_EQ(Ask(Get("/")).status, 404);
}

TEST_F(LiveServer, RequestIdsComeBack) {
  Start();
  const std::string field = "X-Request-Id: trace-7\r\n";
  const Reply answer =
      Ask(Post("/v1/completions", R"({"prompt": "hello", "max_tokens": 1, "request_id": "x"})", field));
  EXPECT_EQ(answer.json()["id"], "cmpl-trace-7");
  for (const Reply& reply :
       {answer, Ask(Get("/health", field)), Ask(Get("/nowhere", field)), Ask(Post("/v1/completions", "{", field)),
        Ask(Post("/v1/completions", R"({"prompt": "hello", "stream": true})", field))}) {
    EXPECT_NE(reply.head.find(field), std::string::npos) << reply.head;
  }
  EXPECT_EQ(Ask(Get("/health")).head.find("X-Request-Id"), std::string::npos);
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
  EXPECT_EQ(model_->engine().Stats().scheduler.prefix_query_tokens, 4U) << "a prompt is submitted once";
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
  EXPECT_NE(metrics.find("quire_kv_slots{model_name=\"ascii\",engine=\"0\",state=\"token\"}"), std::string::npos);
  EXPECT_NE(metrics.find("quire_kv_slot_seconds_total"), std::string::npos);
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
  EXPECT_EQ(model_->engine().Stats().scheduler.num_blocks_cached, 0U);
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
  EXPECT_NE(metrics.find("quire_unknown_request_fields_total{model_name=\"ascii\",engine=\"0\"} 6"), std::string::npos);
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
  EXPECT_EQ(prompt.json()["error"]["param"], "prompt");
  EXPECT_EQ(Ask(Completion(59)).json()["error"]["param"], "max_tokens");
  const nlohmann::json chat = {{"messages", {{{"role", "user"}, {"content", std::string(64, 'x')}}}}};
  const nlohmann::json refused = Ask(Post("/v1/chat/completions", chat.dump())).json()["error"];
  EXPECT_EQ(refused["param"], "messages");
  EXPECT_EQ(refused["code"], "context_length_exceeded");
  EXPECT_EQ(Ask(Completion(58)).status, 200);
}

TEST_F(LiveServer, KeyGuardsEveryRouteButHealth) {
  Start({.api_keys = {"secret", "other"}});
  for (const Route& route : Routes()) {
    const std::string path = std::string(route.path) + (route.path.ends_with('/') ? "ascii" : "");
    const bool open = path == "/health" || path == "/ping";
    for (const char* key : {"", "Authorization: Bearer secret\r\n"}) {
      const Reply reply = Ask(route.method == "GET" ? Get(path, key) : Post(path, "{}", key));
      EXPECT_EQ(reply.status == 401, !open && *key == '\0') << route.method << " " << path << " " << key;
      EXPECT_NE(reply.status, 404) << path;
      EXPECT_NE(reply.status, 405) << path;
    }
  }
  EXPECT_EQ(Ask(Get("/nowhere")).status, 401);
  EXPECT_EQ(Ask(Get("/v1/models/", "Authorization: Bearer secret\r\n")).status, 200) << "the list";
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

}  // namespace
}  // namespace quire::server
