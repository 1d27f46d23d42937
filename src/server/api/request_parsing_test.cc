#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>

#include "server/api/json_writer.h"
#include "server/api/model_context.h"
#include "server/api/parsing_testing.h"
#include "server/http/byte_budget.h"
#include "server/http/http.h"
#include "server/served_model_testing.h"

namespace quire::server {
namespace {

using nlohmann::ordered_json;

class RequestParsing : public testing::Test {
 protected:
  GenerationRequest Good(bool chat, const std::string& body) {
    ParsedRequest parsed = Parse(context_, chat, body);
    const ApiError* error = std::get_if<ApiError>(&parsed);
    EXPECT_EQ(error, nullptr) << body << ": " << error->message;
    return error == nullptr ? std::get<GenerationRequest>(std::move(parsed)) : GenerationRequest();
  }
  // As Good, where a request that says nothing gets `defaults`.
  SamplingParams ParamsOver(const SamplingParams& defaults, bool chat, const std::string& body) {
    ServedModel served = model_.served();
    served.defaults = defaults;
    const ModelContext context(served, {"ascii"});
    ParsedRequest parsed = Parse(context, chat, body);
    EXPECT_TRUE(std::holds_alternative<GenerationRequest>(parsed)) << body;
    return std::get<GenerationRequest>(std::move(parsed)).params;
  }
  ApiError Bad(bool chat, const std::string& body) {
    ParsedRequest parsed = Parse(context_, chat, body);
    EXPECT_TRUE(std::holds_alternative<ApiError>(parsed)) << body;
    const ApiError* error = std::get_if<ApiError>(&parsed);
    return error == nullptr ? ApiError{} : *error;
  }

  ParsedRequest Parse(const ModelContext& context, bool chat, const std::string& body) {
    return ParseRequest(context, chat, body, counters_);
  }
  // How many unknown fields a request has that is good or bad.
  uint64_t NumUnknown(bool chat, const std::string& body) {
    const uint64_t before = counters_.unknown_fields.count();
    Parse(context_, chat, body);
    return counters_.unknown_fields.count() - before;
  }

  TestModel model_;
  ModelContext context_{model_.served(), {"ascii", "alias"}};
  ServerCounters counters_;
};

TEST_F(RequestParsing, ReadsEverySamplingField) {
  const GenerationRequest request = Good(false, R"({
      "model": "ascii", "prompt": "ab", "max_tokens": 7, "temperature": 0.5, "top_p": 0.25, "top_k": 3, "min_p": 0.125,
      "repetition_penalty": 1.5, "presence_penalty": 1, "frequency_penalty": -1.0, "logit_bias": {"5": -100, "6": 1.5},
      "seed": 18446744073709551614, "stop": ["x", "yz"], "stop_token_ids": [1, 2.0], "include_stop_str_in_output": true,
      "ignore_eos": true, "min_tokens": 2, "logprobs": 4, "skip_special_tokens": false, "n": 2, "stream": true,
      "stream_options": {"include_usage": true, "continuous_usage_stats": true}, "return_token_ids": true,
      "priority": -3, "cache_salt": "s", "user": "u", "echo": true})");
  const SamplingParams& params = request.params;
  EXPECT_EQ(params.max_tokens, 7);
  EXPECT_EQ(params.temperature, 0.5F);
  EXPECT_EQ(params.top_p, 0.25F);
  EXPECT_EQ(params.top_k, 3);
  EXPECT_EQ(params.min_p, 0.125F);
  EXPECT_EQ(params.repetition_penalty, 1.5F);
  EXPECT_EQ(params.presence_penalty, 1);
  EXPECT_EQ(params.frequency_penalty, -1);
  EXPECT_EQ(params.logit_bias, (std::vector<std::pair<int32_t, float>>{{5, -100.0F}, {6, 1.5F}}));
  EXPECT_EQ(params.seed, 18446744073709551614U);
  EXPECT_EQ(params.stop, (std::vector<std::string>{"x", "yz"}));
  EXPECT_EQ(params.stop_token_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_TRUE(params.include_stop_str_in_output && params.ignore_eos && !params.skip_special_tokens);
  EXPECT_EQ(params.min_tokens, 2);
  EXPECT_EQ(params.logprobs, 4);
  EXPECT_EQ(params.prompt_logprobs, 4) << "echo scores the prompt";
  EXPECT_TRUE(request.stream && request.include_usage && request.continuous_usage && request.return_token_ids);
  EXPECT_EQ(request.params.n, 2);
  EXPECT_EQ(request.priority, -3);
  EXPECT_EQ(request.cache_salt, "s");
  EXPECT_EQ(request.client_key, "u");
  EXPECT_EQ(counters_.unknown_fields.count(), 0U);
  EXPECT_EQ(request.prompts.front().ids, (std::vector<int32_t>{AsciiTokenizer::kBos, 'a' - ' ', 'b' - ' '}));
}

TEST_F(RequestParsing, TakesPromptsInFourShapes) {
  EXPECT_EQ(Good(false, R"({"prompt": "a"})").prompts.size(), 1U);
  EXPECT_EQ(Good(false, R"({"prompt": ["a", "b"]})").prompts.size(), 2U);
  const GenerationRequest ids = Good(false, R"({"prompt": [3, 4]})");
  ASSERT_EQ(ids.prompts.size(), 1U);
  EXPECT_EQ(ids.prompts[0].ids, (std::vector<int32_t>{3, 4}));
  EXPECT_EQ(ids.prompts[0].text, "#$");
  EXPECT_EQ(Good(false, R"({"prompt": [[3, 4], [5], "x"]})").prompts.size(), 3U);
}

TEST_F(RequestParsing, NullMeansAbsentAndUnknownFieldsAreCounted) {
  const GenerationRequest request =
      Good(false, R"({"prompt": "a", "max_tokens": null, "stop": null, "logprobs": null, "top_p": null, "suffix": null,
                      "mystery": 1, "enigma": null})");
  EXPECT_EQ(request.params.max_tokens, 16);
  EXPECT_EQ(counters_.unknown_fields.count(), 2U);
  EXPECT_EQ(request.model, "ascii");
  EXPECT_FALSE(request.max_tokens_given);
}

TEST_F(RequestParsing, UnknownFieldsAreCountedInRequestsThatAreRefused) {
  EXPECT_EQ(NumUnknown(false, R"({"prompt": "a", "top_p": 0, "mystery": 1})"), 1U);
  EXPECT_EQ(NumUnknown(false, R"({"model": "other", "prompt": "a", "add_special_tokens": true, "mystery": 1})"), 1U);
  EXPECT_EQ(NumUnknown(true, R"({"messages": [], "chat_template_kwargs": {}, "mystery": 1})"), 1U);
  EXPECT_EQ(NumUnknown(false, R"({"prompt": "a", "stream": true, "stream_options": {"enigma": 1}, "mystery": 1})"), 2U);
}

TEST_F(RequestParsing, TruncationKeepsTheEndAndEchoesIt) {
  const std::string body = R"({"prompt": ")" + std::string(200'000, 'x') + R"(tail", "echo": true)";
  EXPECT_EQ(Bad(false, body + "}").code, "context_length_exceeded");
  const Prompt text = Good(false, body + R"(, "truncate_prompt_tokens": 4})").prompts.front();
  EXPECT_EQ(text.text, "tail");
  EXPECT_EQ(text.ids, (std::vector<int32_t>{'t' - ' ', 'a' - ' ', 'i' - ' ', 'l' - ' '}));
  EXPECT_EQ(Good(false, body + R"(, "truncate_prompt_tokens": -1})").prompts.front().ids.size(), 8191U);
  const Prompt ids = Good(false, R"({"prompt": [1, 2, 3, 4], "truncate_prompt_tokens": 2})").prompts.front();
  EXPECT_EQ(ids.ids, (std::vector<int32_t>{3, 4}));
  EXPECT_EQ(ids.text, "#$");
  const Prompt whole = Good(false, R"({"prompt": "tail", "truncate_prompt_tokens": 5})").prompts.front();
  EXPECT_EQ(whole.text, "tail");
  EXPECT_EQ(whole.ids.size(), 5U);
  const Prompt chat = Good(true, R"({"messages": [{"role": "user", "content": ")" + std::string(200'000, 'x') +
                                     R"("}], "truncate_prompt_tokens": 3})")
                          .prompts.front();
  EXPECT_EQ(chat.ids, (std::vector<int32_t>{'n' - ' ', 't' - ' ', ':' - ' '}));
}

TEST_F(RequestParsing, StopTokensAreSortedAndDistinct) {
  std::string ids = "9";
  for (int i = 0; i < 5000; ++i) ids += ", 7, 9";
  EXPECT_EQ(Good(false, R"({"prompt": "a", "stop_token_ids": [)" + ids + "]}").params.stop_token_ids,
            (std::vector<int32_t>{7, 9}));
}

TEST_F(RequestParsing, AModelThatCannotChatSaysWhy) {
  ServedModel served = model_.served();
  served.chat_template = nullptr;
  const auto message = [&] {
    const ModelContext context(served, {"ascii"});
    const ParsedRequest parsed = Parse(context, true, R"({"messages": [{"role": "user", "content": "q"}]})");
    const ApiError* error = std::get_if<ApiError>(&parsed);
    return error == nullptr ? "" : error->message;
  };
  EXPECT_EQ(message(), "this model has no chat template: use /v1/completions");
  served.chat_template_problem = "line 3: there is no filter frobnicate";
  EXPECT_EQ(message(), "this model cannot chat: line 3: there is no filter frobnicate");
  EXPECT_EQ(counters_.unknown_fields.count(), 0U);
}

TEST_F(RequestParsing, DefaultsComeFromTheGenerationConfig) {
  const SamplingParams params = ParamsOver({.temperature = 0.25F, .top_k = 7, .max_tokens = 99}, true,
                                           R"({"messages": [{"role": "user", "content": "q"}], "top_k": 5})");
  EXPECT_EQ(params.temperature, 0.25F);
  EXPECT_EQ(params.top_k, 5);
  EXPECT_EQ(params.max_tokens, 99);
}

TEST_F(RequestParsing, ReadsBeamsAndIgnoresTheGenerationConfigForThem) {
  const SamplingParams defaults = {.temperature = 0.25F, .top_k = 7, .repetition_penalty = 1.2F};
  const SamplingParams beams =
      ParamsOver(defaults, false, R"({"prompt": "a", "use_beam_search": true, "n": 2, "beam_width": 4,
      "length_penalty": 0.5, "early_stopping": "never", "temperature": 0, "top_k": -1, "max_tokens": 5})");
  EXPECT_TRUE(beams.use_beam_search);
  EXPECT_EQ(beams.n, 2);
  EXPECT_EQ(beams.num_streams(), 4);
  EXPECT_EQ(beams.length_penalty, 0.5F);
  EXPECT_EQ(beams.early_stopping, EarlyStopping::kNever);
  EXPECT_EQ(beams.repetition_penalty, 1);
  EXPECT_EQ(beams.max_tokens, 5);
  const auto early = [&](const char* value) {
    return Good(true, std::string(R"({"messages": [{"role": "user", "content": "q"}], "use_beam_search": true, "n": 3,
                                      "stream": true, "early_stopping": )") +
                          value + "}")
        .params.early_stopping;
  };
  EXPECT_EQ(early("true"), EarlyStopping::kAlways);
  EXPECT_EQ(early("false"), EarlyStopping::kHeuristic);
}

TEST_F(RequestParsing, ReadsBestOfAndThePrefixCachesSwitches) {
  EXPECT_EQ(Good(false, R"({"prompt": "a", "n": 2, "best_of": 4})").params.num_streams(), 4);
  EXPECT_EQ(Good(false, R"({"prompt": "a", "n": 2, "best_of": 2, "temperature": 0, "stream": true})").params.n, 2);
  const GenerationRequest neither = Good(false, R"({"prompt": "a", "cache_prompt": false})");
  EXPECT_FALSE(neither.reads_prefix_cache || neither.writes_prefix_cache);
  const GenerationRequest writes = Good(false, R"({"prompt": "a", "skip_reading_prefix_cache": true})");
  EXPECT_TRUE(!writes.reads_prefix_cache && writes.writes_prefix_cache);
  const GenerationRequest both = Good(false, R"({"prompt": "a", "cache_prompt": true})");
  EXPECT_TRUE(both.reads_prefix_cache && both.writes_prefix_cache);
  EXPECT_EQ(counters_.unknown_fields.count(), 0U);
}

TEST_F(RequestParsing, RendersConversations) {
  const auto text = [&](const std::string& body) { return Good(true, body).prompts.front().text; };
  EXPECT_EQ(text(R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]})"),
            "system:s;user:q;assistant:");
  EXPECT_EQ(text(R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"},
                                                               {"type": "text", "text": "b"}]}]})"),
            "user:a\nb;assistant:");
  EXPECT_EQ(text(R"({"messages": [{"role": "user", "content": "q"}], "add_generation_prompt": false})"), "user:q;");
  EXPECT_EQ(text(R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": " so far "}],
                     "continue_final_message": true})"),
            "user:q;assistant: so far ");
  EXPECT_EQ(text(R"({"messages": [{"role": "user", "content": "q"}],
                     "chat_template_kwargs": {"add_generation_prompt": false, "x": 1}})"),
            "user:q;");
  EXPECT_EQ(text(R"({"messages": [{"role": "user"}, {"role": "tool", "content": null}]})"), "user:;tool:;assistant:");
  EXPECT_EQ(Good(true, R"({"messages": [{"role": "user", "content": "q"}], "logprobs": true, "top_logprobs": 3,
                           "max_tokens": 5, "max_completion_tokens": 6})")
                .params.max_tokens,
            6);
}

// What each variable is, as JSON; nothing where the template does not see it.
constexpr const char* kShowVariables =
    "{% if documents %}{{ documents | tojson }}{% endif %}{{ tools | tojson }},{{ effort | tojson if effort is defined "
    "}},"
    "{{ reasoning_effort | tojson if reasoning_effort is defined }},"
    "{{ enable_thinking | tojson if enable_thinking is defined }}";

TEST_F(RequestParsing, TheTemplateSeesTheRequestsVariables) {
  const auto parsed = ChatTemplate::Parse(kShowVariables);
  ASSERT_TRUE(parsed.ok());
  ServedModel served = model_.served();
  served.chat_template = parsed->get();
  const ModelContext context(served, {"ascii"});
  const auto text = [&](const std::string& fields) {
    const ParsedRequest request =
        Parse(context, true, R"({"messages": [{"role": "user", "content": "q"}], )" + fields + "}");
    const ApiError* error = std::get_if<ApiError>(&request);
    return error != nullptr ? error->message : std::get<GenerationRequest>(request).prompts.front().text;
  };
  EXPECT_EQ(text(R"("n": 1)"), "null,,,");
  EXPECT_EQ(text(R"("tools": [], "documents": null)"), "null,,,");
  const std::string tools = R"([{"type": "function", "function": {"name": "f"}}])";
  EXPECT_EQ(text(R"("tool_choice": "none", "tools": )" + tools), tools + ",,,");
  EXPECT_EQ(text(R"("documents": [{"title": "t", "text": "d"}])"), R"([{"title": "t", "text": "d"}]null,,,)");
  EXPECT_EQ(text(R"("reasoning_effort": "low")"), R"(null,,"low",true)");
  EXPECT_EQ(text(R"("reasoning_effort": "none")"), R"(null,,"none",false)");
  EXPECT_EQ(text(R"("reasoning_effort": "low", "enable_thinking": false)"), R"(null,,"low",false)");
  EXPECT_EQ(text(R"("reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": false})"),
            R"(null,,"low",false)");
  EXPECT_EQ(text(R"("chat_template_kwargs": {"enable_thinking": true, "effort": 3})"), "null,3,,true");
  EXPECT_EQ(counters_.unknown_fields.count(), 0U);
}

struct BadBody {
  bool chat;
  const char* body;
  int status;
  const char* param;
  const char* part_of_message;
};

TEST_F(RequestParsing, RefusesBadBodiesNamingTheField) {
  const BadBody kBodies[] = {
      {false, "", 400, "", "not valid JSON"},
      {false, "{\"prompt\": \"a\"", 400, "", "column"},
      {false, "{\"prompt\": \"\xff\"}", 400, "", "not valid JSON"},
      {false, "[1]", 400, "", "must be a JSON object, not array"},
      {false, R"({"prompt": "a", "temperature": 1e999})", 400, "", "not valid JSON"},
      {false, R"({})", 400, "prompt", "missing"},
      {false, R"({"prompt": null})", 400, "prompt", "missing"},
      {false, R"({"prompt": 7})", 400, "prompt", "must be a string"},
      {false, R"({"prompt": []})", 400, "prompt", "must be a string"},
      {false, R"({"prompt": [1, "a"]})", 400, "prompt", "token ids"},
      {false, R"({"prompt": [1, -1]})", 400, "prompt", "-1"},
      {false, R"({"prompt": [[1], []]})", 400, "prompt", "must be a string"},
      {false, R"({"prompt": "a", "truncate_prompt_tokens": 0})", 400, "truncate_prompt_tokens", "-1 or positive"},
      {false, R"({"prompt": "a", "truncate_prompt_tokens": 8193})", 400, "truncate_prompt_tokens", "from -1 to 8192"},
      {false, R"({"prompt": "a", "model": "other"})", 404, "model", "`other` does not exist"},
      {false, R"({"prompt": "a", "model": 5})", 400, "model", "must be a string"},
      {false, R"({"prompt": "a", "temperature": "hot"})", 400, "temperature", "must be a number"},
      {false, R"({"prompt": "a", "temperature": -1})", 400, "temperature", "from 0 to"},
      {false, R"({"prompt": "a", "top_p": 0})", 400, "top_p", "above 0"},
      {false, R"({"prompt": "a", "top_k": 1.5})", 400, "top_k", "integer"},
      {false, R"({"prompt": "a", "max_tokens": 0})", 400, "max_tokens", "at least 1"},
      {false, R"({"prompt": "a", "max_tokens": 99999999999})", 400, "max_tokens", "32 bits"},
      {false, R"({"prompt": "a", "n": 0})", 400, "n", "from 1 to"},
      {false, R"({"prompt": "a", "n": true})", 400, "n", "integer"},
      {false, R"({"prompt": "a", "stream": "yes"})", 400, "stream", "true or false"},
      {false, R"({"prompt": "a", "stop": 5})", 400, "stop", "list of strings"},
      {false, R"({"prompt": "a", "stop": [""]})", 400, "stop", "empty"},
      {false, R"({"prompt": "a", "seed": "x"})", 400, "seed", "64 bits"},
      {false, R"({"prompt": "a", "logprobs": 21})", 400, "logprobs", "from 0 to 20"},
      {false, R"({"prompt": "a", "logprobs": true})", 400, "logprobs", "integer"},
      {false, R"({"prompt": "a", "logit_bias": [1]})", 400, "logit_bias", "object"},
      {false, R"({"prompt": "a", "logit_bias": {"x": 1}})", 400, "logit_bias", "token ids"},
      {false, R"({"prompt": "a", "logit_bias": {"7": 1, "07": 1}})", 400, "logit_bias", "like \"7\""},
      {false, R"({"prompt": "a", "logit_bias": {"-0": 1}})", 400, "logit_bias", "like \"0\""},
      {false, R"({"prompt": "a", "logit_bias": {"5": 101}})", 400, "logit_bias", "from -100 to 100"},
      {false, R"({"prompt": "a", "logit_bias": {"96": 1}})", 400, "logit_bias", "from 0 to 95"},
      {false, R"({"prompt": "a", "stop_token_ids": [96]})", 400, "stop_token_ids", "from 0 to 95"},
      {false, R"({"prompt": "a", "stream_options": {"include_usage": true}})", 400, "stream_options", "with stream"},
      {false, R"({"prompt": "a", "stream": true, "prompt_logprobs": 1})", 400, "prompt_logprobs", "stream"},
      {false, R"({"prompt": "a", "n": 129})", 400, "n", "from 1 to 128"},
      {false, R"({"prompt": "a", "n": 3, "best_of": 2})", 400, "best_of", "from n, which is 3"},
      {false, R"({"prompt": "a", "best_of": 129})", 400, "best_of", "to 128"},
      {false, R"({"prompt": "a", "best_of": "two"})", 400, "best_of", "integer"},
      {false, R"({"prompt": "a", "best_of": 3, "temperature": 0})", 400, "best_of", "temperature 0"},
      {false, R"({"prompt": "a", "best_of": 3, "stream": true})", 400, "best_of", "leave stream out"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "n": 2, "best_of": 1})", 400, "best_of", "from n"},
      {false, R"({"prompt": "a", "beam_width": 3})", 400, "beam_width", "use_beam_search"},
      {false, R"({"prompt": "a", "length_penalty": 0.5})", 400, "length_penalty", "use_beam_search"},
      {false, R"({"prompt": "a", "early_stopping": true})", 400, "early_stopping", "use_beam_search"},
      {false, R"({"prompt": "a", "early_stopping": "soon"})", 400, "early_stopping", "\"never\""},
      {false, R"({"prompt": "a", "use_beam_search": 1})", 400, "use_beam_search", "true or false"},
      {false, R"({"prompt": "a", "use_beam_search": true, "n": 4, "beam_width": 3})", 400, "beam_width", "n answers"},
      {false, R"({"prompt": "a", "use_beam_search": true, "beam_width": 65})", 400, "beam_width", "at most 64"},
      {false, R"({"prompt": "a", "use_beam_search": true, "n": 65})", 400, "n", "at most 64"},
      {false, R"({"prompt": "a", "use_beam_search": true, "temperature": 0.7})", 400, "temperature", "beam search"},
      {false, R"({"prompt": "a", "use_beam_search": true, "top_p": 0.9})", 400, "top_p", "beam search"},
      {false, R"({"prompt": "a", "use_beam_search": true, "top_k": 5})", 400, "top_k", "beam search"},
      {false, R"({"prompt": "a", "use_beam_search": true, "min_p": 0.1})", 400, "min_p", "beam search"},
      {false, R"({"prompt": "a", "use_beam_search": true, "repetition_penalty": 1.1})", 400, "repetition_penalty",
       "beam search"},
      {false, R"({"prompt": "a", "use_beam_search": true, "presence_penalty": 1})", 400, "presence_penalty",
       "beam search"},
      {false, R"({"prompt": "a", "use_beam_search": true, "frequency_penalty": 1})", 400, "frequency_penalty",
       "beam search"},
      {false, R"({"prompt": "a", "use_beam_search": true, "logit_bias": {"5": 1}})", 400, "logit_bias", "beam search"},
      {false, R"({"prompt": "a", "suffix": "x"})", 400, "suffix", "not supported"},
      {true, R"({})", 400, "messages", "at least one"},
      {true, R"({"messages": []})", 400, "messages", "at least one"},
      {true, R"({"messages": ["hi"]})", 400, "messages", "messages[0] must be an object"},
      {true, R"({"messages": [{"content": "x"}]})", 400, "messages", "messages[0].role"},
      {true, R"({"messages": [{"role": "user", "content": [{"text": "x"}]}]})", 400, "messages",
       "messages[0].content[0] must be"},
      {true, R"({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]})", 400, "messages",
       "messages[0].content[0].text must be a string"},
      {true, R"({"messages": [{"role": "assistant", "tool_calls": [{"function": "f"}]}]})", 400, "messages",
       "messages[0].tool_calls[0].function must be an object"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "tools": [{}], "tool_choice": "none"})", 400, "tools",
       "tools[0] must be"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "documents": [{"text": "d"}]})", 400, "documents",
       "does not read them"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "documents": "d"})", 400, "documents", "list"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "reasoning_effort": "much"})", 400, "reasoning_effort",
       "much: it must be one of none, minimal"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "enable_thinking": "no"})", 400, "enable_thinking",
       "true or false"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "chat_template": "{{ 1 }}"})", 400, "chat_template",
       "--chat-template FILE"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": {"chat_template": ""}})", 400,
       "chat_template_kwargs", "holds chat_template"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": {"messages": 7}})", 400,
       "chat_template_kwargs", "holds messages"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "continue_final_message": true,
                 "add_generation_prompt": true})",
       400, "continue_final_message", "exclude"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "tool_choice": "auto",
                 "tools": [{"type": "function", "function": {"name": "f"}}]})",
       400, "tools", "tool_choice \"none\""},
      {true, R"({"messages": [{"role": "user", "content": 5}]})", 400, "messages", "string or a list"},
      {true, R"({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]})", 400,
       "messages", "image_url"},
      {true, R"({"messages": [{"role": "forbidden", "content": "x"}]})", 400, "messages", "no such role"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "top_logprobs": 2})", 400, "top_logprobs", "logprobs"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "logprobs": 2})", 400, "logprobs", "true or false"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "tools": [{}]})", 400, "tools", "not supported"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "tool_choice": "required"})", 400, "tool_choice",
       "not supported"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_object"}})", 400,
       "response_format", "not supported"},
      {true, R"({"messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": 3})", 400,
       "chat_template_kwargs", "object"},
  };
  for (const BadBody& bad : kBodies) {
    SCOPED_TRACE(bad.body);
    const ApiError error = Bad(bad.chat, bad.body);
    EXPECT_EQ(error.status, bad.status);
    EXPECT_EQ(error.param, bad.param);
    EXPECT_NE(error.message.find(bad.part_of_message), std::string::npos) << error.message;
  }
}

// {"0":0,"1":0, ...}
std::string ObjectOf(int num_members) {
  std::string text = "{";
  for (int i = 0; i < num_members; ++i) text += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":0";
  return text + "}";
}

TEST_F(RequestParsing, RefusesDeepAndHugeBodies) {
  EXPECT_NE(Bad(false, std::string(1'000'000, '[')).message.find("nested"), std::string::npos);
  EXPECT_NE(Bad(false, ObjectOf(200'000)).message.find("more than 16384 members"), std::string::npos);
  EXPECT_NE(Bad(false, R"({"logit_bias": )" + ObjectOf(16'385)).message.find("more than 16384 members"),
            std::string::npos)
      << "also where the rest is missing";
  std::string many = R"({"prompt": "a", "x": [)";
  for (int i = 0; i < 2; ++i) many += ObjectOf(16'384) + ",";
  EXPECT_NE(Bad(false, many + ObjectOf(1000) + "]}").message.find("more than 268435456 comparisons"),
            std::string::npos);
  const std::string usual = R"({"prompt": "a", "x": {"a:::::": "}}}]]]\"{{{"}, "y": )" + ObjectOf(1000) + "}";
  EXPECT_EQ(Good(false, usual).prompts.size(), 1U);
  const ApiError error = Bad(false, R"({"prompt": ")" + std::string(1'000'000, 'x') + "\"}");
  EXPECT_EQ(error.code, "context_length_exceeded");
  EXPECT_NE(error.message.find("8192"), std::string::npos);
}

TEST_F(RequestParsing, MessagesAboutHugeValuesAreShort) {
  const std::string huge(1'000'000, 'x');
  EXPECT_LT(Bad(false, R"({"prompt": [1, ")" + huge + R"("]})").message.size(), 200U);
  EXPECT_LT(Bad(false, R"({"prompt": "a", "model": ")" + huge + R"("})").message.size(), 200U);
  EXPECT_LT(Bad(true, R"({"messages": [{"role": "user", "content": [{"type": ")" + huge + R"("}]}]})").message.size(),
            200U);
}

TEST(ByteShare, IsGivenBackWhenItGoes) {
  const auto budget = std::make_shared<ByteBudget>(10);
  ByteShare rest(budget);
  {
    ByteShare share(budget);
    EXPECT_TRUE(share.GrowTo(6));
    EXPECT_TRUE(share.GrowTo(4)) << "it never shrinks";
    const ByteShare moved = std::move(share);
    EXPECT_FALSE(rest.GrowTo(5));
    EXPECT_TRUE(rest.GrowTo(4));
  }
  EXPECT_TRUE(rest.GrowTo(10));
  EXPECT_FALSE(ByteShare(budget).GrowTo(1));
  rest = ByteShare();
  EXPECT_TRUE(ByteShare(budget).GrowTo(10));
}

TEST(JsonWriter, RoundTripsTextAndNumbers) {
  std::string all = "\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80 \"\\/\n";
  for (char c = 0; c < 127; ++c) all += c;
  std::string out;
  JsonWriter(out)
      .BeginObject()
      .Key("text")
      .String(all)
      .Key("numbers")
      .BeginArray()
      .Int(std::numeric_limits<int64_t>::min())
      .Float(0.1F)
      .Float(-1e-30F)
      .EndArray()
      .Key("empty")
      .BeginObject()
      .EndObject()
      .Key("flag")
      .Bool(true)
      .Key("none")
      .Null()
      .EndObject();
  const ordered_json read = ordered_json::parse(out);
  EXPECT_EQ(read["text"], all);
  EXPECT_EQ(read["numbers"][0], std::numeric_limits<int64_t>::min());
  EXPECT_EQ(read["numbers"][1].get<float>(), 0.1F);
  EXPECT_EQ(read["numbers"][2].get<float>(), -1e-30F);
  EXPECT_TRUE(read["empty"].empty() && read["flag"] == true && read["none"].is_null());
}

TEST(JsonWriter, BytesThatAreNotTextBecomeReplacements) {
  for (const char* bytes : {"\xff", "\xC3", "\xE2\x82", "\xED\xA0\x80", "\xC0\xAF", "\xF5\x80\x80\x80"}) {
    std::string out;
    AppendJsonString(bytes, out);
    EXPECT_NE(ordered_json::parse(out).get<std::string>().find("\xEF\xBF\xBD"), std::string::npos);
  }
}

TEST(Http, ChunksCarryTheirSize) {
  std::string out = "head";
  size_t chunk = BeginChunk(out);
  EndChunk(chunk, out);
  EXPECT_EQ(out, "head") << "an empty chunk would end the body";
  chunk = BeginChunk(out);
  out += std::string(300, 'x');
  EndChunk(chunk, out);
  EXPECT_EQ(out, "head0000012c\r\n" + std::string(300, 'x') + "\r\n");
}

}  // namespace
}  // namespace quire::server
