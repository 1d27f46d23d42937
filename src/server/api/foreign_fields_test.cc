// What clients of other servers send: acted on, refused by name, or known to mean nothing.
#include "server/api/foreign_fields.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "server/api/model_context.h"
#include "server/api/parsing_testing.h"
#include "server/served_model_testing.h"

namespace quire::server {
namespace {

class ForeignFields : public testing::Test {
 protected:
  // A completion and a chat with these members more.
  std::vector<ParsedRequest> Parse(const std::string& members) {
    const std::string chat = R"({"messages": [{"role": "user", "content": "q"}], )" + members + "}";
    return {ParseRequest(context_, false, R"({"prompt": "abcdef", )" + members + "}", counters_),
            ParseRequest(context_, true, chat, counters_)};
  }
  GenerationRequest Good(const std::string& members) {
    for (const ParsedRequest& parsed : Parse(members)) {
      const ApiError* error = std::get_if<ApiError>(&parsed);
      EXPECT_EQ(error, nullptr) << members << ": " << error->message;
      if (error != nullptr) return {};
    }
    EXPECT_EQ(counters_.unknown_fields.count(), 0U) << members;
    return std::get<GenerationRequest>(Parse(members).front());
  }
  void ExpectRefused(const std::string& field, const std::string& value) {
    for (const ParsedRequest& parsed : Parse(fmt::format(R"("{}": {})", field, value))) {
      const ApiError* error = std::get_if<ApiError>(&parsed);
      ASSERT_NE(error, nullptr) << field << " " << value;
      EXPECT_EQ(error->status, 400);
      EXPECT_EQ(error->param, field);
      EXPECT_NE(error->message.find(field), std::string::npos) << error->message;
    }
  }

  TestModel model_;
  ModelContext context_{model_.served(), {"ascii"}};
  ServerCounters counters_;
};

TEST_F(ForeignFields, WhatWouldChangeTheAnswerIsRefusedByName) {
  for (const char* field : {"grammar", "json_schema", "regex", "ebnf", "logprob_token_ids", "repetition_detection",
                            "samplers", "lora", "thinking", "custom_logit_processor", "kv_transfer_params"}) {
    for (const char* value : {"\"x\"", "[1]", R"({"a": 1})"}) ExpectRefused(field, value);
  }
  for (const auto& [field, value] :
       {std::pair("thinking_token_budget", "10"), std::pair("typical_p", "0.9"), std::pair("mirostat", "2"),
        std::pair("dry_multiplier", "0.8"), std::pair("xtc_probability", "0.5"), std::pair("dynatemp_range", "0.2"),
        std::pair("top_n_sigma", "1.5"), std::pair("n_probs", "3"), std::pair("no_repeat_ngram_size", "2"),
        std::pair("return_hidden_states", "true")}) {
    ExpectRefused(field, value);
  }
}

// llama.cpp's and SillyTavern's clients send every field always.
TEST_F(ForeignFields, WhatAsksForNothingIsTaken) {
  const SamplingParams plain = Good(R"("temperature": 0.5)").params;
  const SamplingParams params =
      Good(R"("temperature": 0.5, "grammar": "", "json_schema": null, "samplers": [], "typical_p": 1, "typical_p": 1.0,
              "tfs_z": 1, "mirostat": 0, "mirostat_tau": 5, "mirostat_eta": 0.1, "dry_multiplier": 0.0,
              "dry_base": 1.75, "dry_allowed_length": 2, "dry_penalty_last_n": -1, "xtc_probability": 0,
              "xtc_threshold": 0.1, "dynatemp_range": 0, "dynatemp_exponent": 1, "top_n_sigma": -1, "n_probs": 0,
              "min_keep": 0, "n_keep": 0, "id_slot": -1, "timings_per_token": false, "repeat_last_n": 64,
              "repeat_penalty": 1.0, "no_repeat_ngram_size": 0, "lora": [], "thinking": null,
              "include_reasoning": true, "return_hidden_states": false, "spaces_between_special_tokens": false)")
          .params;
  EXPECT_EQ(params.temperature, plain.temperature);
  EXPECT_EQ(params.repetition_penalty, 1);
}

TEST_F(ForeignFields, OtherNamesOfOneThingAreHeeded) {
  EXPECT_EQ(Good(R"("n_predict": 7)").params.max_tokens, 7);
  EXPECT_EQ(Good(R"("max_new_tokens": 7)").params.max_tokens, 7);
  EXPECT_EQ(Good(R"("max_tokens": 5, "n_predict": 7)").params.max_tokens, 5) << "its own name first";
  EXPECT_EQ(Good(R"("n_predict": -1)").params.max_tokens, std::nullopt);
  EXPECT_EQ(Good(R"("min_new_tokens": 3, "max_tokens": 5)").params.min_tokens, 3);
  EXPECT_EQ(Good(R"("repeat_penalty": 1.5)").params.repetition_penalty, 1.5F);
  EXPECT_EQ(Good(R"("repeat_penalty": 1.5, "repeat_last_n": -1)").params.repetition_penalty, 1.5F);
  EXPECT_EQ(Good(R"("repeat_penalty": 1.5, "repeat_last_n": 0)").params.repetition_penalty, 1);
  for (const ParsedRequest& parsed : Parse(R"("repeat_penalty": 1.5, "repeat_last_n": 64)")) {
    ASSERT_TRUE(std::holds_alternative<ApiError>(parsed));
    EXPECT_EQ(std::get<ApiError>(parsed).param, "repeat_last_n");
  }
}

TEST_F(ForeignFields, PromptsAreTruncatedFromTheSideThatIsAskedFor) {
  const auto text = [](const GenerationRequest& request) { return request.prompts.at(0).text; };
  EXPECT_EQ(text(Good(R"("truncate_prompt_tokens": 2)")), "ef");
  EXPECT_EQ(text(Good(R"("truncate_prompt_tokens": 2, "truncation_side": "left")")), "ef");
  EXPECT_EQ(text(Good(R"("truncate_prompt_tokens": 3, "truncation_side": "right", "add_special_tokens": false)")),
            "abc");
  ExpectRefused("truncation_side", "\"middle\"");
}

TEST_F(ForeignFields, RequestsAreCalledWhatTheClientCallsThem) {
  EXPECT_EQ(Good(R"("request_id": "job-7")").id, "cmpl-job-7");
  EXPECT_EQ(Good(R"("rid": "job-8")").id, "cmpl-job-8");
  EXPECT_NE(Good(R"("n": 1)").id, Good(R"("n": 1)").id);
  ExpectRefused("request_id", R"("two\r\nlines")");
  ExpectRefused("request_id", "\"" + std::string(300, 'x') + "\"");
  ExpectRefused("request_id", "7");
}

TEST_F(ForeignFields, UnknownFieldsAreCountedWithThoseInside) {
  Parse(R"("mystery": 1, "stream": true, "stream_options": {"riddle": 2})");
  EXPECT_EQ(counters_.unknown_fields.count(), 4U);
}

}  // namespace
}  // namespace quire::server
