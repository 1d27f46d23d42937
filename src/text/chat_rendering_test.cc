// Conversations as clients send them, by small templates and by all the published ones.
#include "text/chat_rendering.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "text/chat_messages.h"
#include "text/published_templates_testing.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

std::unique_ptr<ChatTemplate> Parsed(const std::string& source) {
  auto parsed = ChatTemplate::Parse(source, {.now = FixedTime});
  EXPECT_TRUE(parsed.ok()) << source;
  return *std::move(parsed);
}

std::string Rendered(const std::string& source, const Json& messages, bool continues = false) {
  const auto rendered = RenderChat(
      *Parsed(source), {.messages = messages, .add_generation_prompt = false, .continue_final_message = continues});
  return rendered.ok() ? *rendered : "error: " + rendered.error().message;
}

Json User(Json content) { return Json::array({{{"role", "user"}, {"content", std::move(content)}}}); }
Json TextPart(const std::string& text) { return {{"type", "text"}, {"text", text}}; }

constexpr const char* kStrings = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}";
constexpr const char* kParts =
    "{% for m in messages %}[{{ m.role }}:{% for p in m.content %}{{ p.type }}={{ p.text }};{% endfor %}]{% endfor %}";

TEST(MessageContent, GoesAsTheTemplateTakesIt) {
  EXPECT_EQ(Rendered(kStrings, User("a")), "[user:a]");
  EXPECT_EQ(Rendered(kStrings, User({TextPart("a"), "b", TextPart("c")})), "[user:a\nb\nc]");
  EXPECT_EQ(Rendered(kParts, User("a")), "[user:text=a;]");
  EXPECT_EQ(Rendered(kParts, User({TextPart("a"), "b"})), "[user:text=a;text=b;]");
}

TEST(MessageContent, HasPartsOfEveryKindOfText) {
  const Json parts = {{{"type", "input_text"}, {"text", "i"}},
                      {{"type", "output_text"}, {"text", "o"}, {"annotations", Json::array()}},
                      {{"type", "refusal"}, {"refusal", "r"}},
                      {{"type", "thinking"}, {"thinking", "t"}, {"signature", "s"}},
                      {{"type", "text"}, {"text", nullptr}},
                      {{"type", "text"}, {"text", "c"}, {"cache_control", {{"type", "ephemeral"}}}}};
  EXPECT_EQ(Rendered(kStrings, User(parts)), "[user:i\no\nr\nt\nc]");
  EXPECT_EQ(Rendered(kParts, User(parts)), "[user:text=i;text=o;text=r;text=t;text=c;]");
}

TEST(MessageContent, MayBeNullOrEmptyInAnyRole) {
  for (const char* role : {"system", "user", "assistant", "tool"}) {
    for (const Json& content : {Json(nullptr), Json(""), Json::array()}) {
      const Json messages = Json::array({{{"role", role}, {"content", content}}});
      EXPECT_EQ(Rendered(kStrings, messages), "[" + std::string(role) + ":]");
    }
    EXPECT_EQ(Rendered(kStrings, Json::array({{{"role", role}}})), "[" + std::string(role) + ":]");
  }
}

TEST(MessageContent, IsFoundThroughWhateverHoldsIt) {
  for (const char* source : {
           "{% for m in messages %}{% for p in m['content'] %}{{ p.text }}{% endfor %}{% endfor %}",
           "{% for m in messages[1:] | list %}{% for p in m.content | reverse %}{% endfor %}{% endfor %}",
           "{% set all = messages %}{% for m in all %}{% set c = m.content %}{% for p in c %}{% endfor %}{% endfor %}",
           "{% set ns = namespace(rest=messages) %}{% for m in ns.rest %}{% for p in m.content %}{% endfor %}{% endfor "
           "%}",
           "{% set ns = namespace() %}{% set ns.c = messages[0].content %}{% for p in ns.c %}{% endfor %}",
           "{% macro show(c) %}{% for p in c %}{% endfor %}{% endmacro %}{{ show(messages[0]['content']) }}",
           "{% for m in messages %}{{ show(c=m.content) }}{% endfor %}{% macro show(c) %}{% for p in c %}{% endfor %}"
           "{% endmacro %}",
           "{% macro show(m) %}{% for p in m.content %}{% endfor %}{% endmacro %}{{ show(messages | last) }}",
           "{% for m in messages %}{% for p in (m.content if m.content is not string else []) %}{% endfor %}{% endfor "
           "%}",
           "{% for m in messages %}{{ m.content | selectattr('type', 'equalto', 'text') | list }}{% endfor %}",
           "{% for m in messages %}{{ m.content | map(attribute='text') | join }}{% endfor %}",
           "{% for m in messages %}{% for p in m.get('content') %}{% endfor %}{% endfor %}",
           "{% with c = messages[0].content %}{% for p in c %}{% endfor %}{% endwith %}",
       }) {
    EXPECT_TRUE(Parsed(source)->traits().takes_parts) << source;
  }
}

TEST(MessageContent, IsAStringToTemplatesThatIterateOverSomethingElse) {
  for (const char* source : {
           "{% for m in messages %}{{ m.content }}{% endfor %}",
           "{# for p in message.content #}{% for m in messages %}{{ 'for p in m.content' }}{% endfor %}",
           "{% for content in messages %}{{ content.content }}{% endfor %}",
           "{% for m in messages %}{% for call in m.tool_calls %}{{ call.content }}{% endfor %}{% endfor %}",
           "{% macro show(c) %}{% for p in c %}{% endfor %}{% endmacro %}{{ show(tools) }}{{ messages[0].content }}",
           "{% for t in tools %}{% for p in t.content %}{% endfor %}{% endfor %}",
           "{% for m in messages %}{% for line in m.content.split('\\n') %}{{ line }}{% endfor %}{% endfor %}",
           "{% macro a(c) %}{{ c }}{% endmacro %}{% macro b(c) %}{% for p in c %}{% endfor %}{% endmacro %}"
           "{{ a(messages[0].content) }}{{ b(tools) }}",
       }) {
    EXPECT_FALSE(Parsed(source)->traits().takes_parts) << source;
  }
}

TEST(ToolResults, AreStringsWhereTheTemplateKnowsThem) {
  const Json messages =
      Json::array({{{"role", "tool"}, {"content", {TextPart("a"), TextPart("b")}}, {"tool_call_id", "1"}}});
  EXPECT_EQ(Rendered("{% for m in messages %}{% if m.role == 'tool' %}{{ m.content }}{{ m.tool_call_id }}{% else %}"
                     "{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{% endfor %}",
                     messages),
            "a\nb1");
  EXPECT_EQ(Rendered(kParts, messages), "[tool:text=a;text=b;]");
}

constexpr const char* kCalls =
    "{% for m in messages %}[{{ m.role }}:{{ m.content }}{% for c in m.tool_calls %}<{{ c.function.name }} "
    "{{ c.function.arguments | tojson }}>{% endfor %}]{% endfor %}";

Json Calling(Json arguments) {
  Json call = {{"id", "1"}, {"type", "function"}, {"function", {{"name", "f"}}}};
  if (!arguments.is_discarded()) call["function"]["arguments"] = std::move(arguments);
  return Json::array({{{"role", "assistant"}, {"content", nullptr}, {"tool_calls", Json::array({std::move(call)})}}});
}

TEST(ToolCalls, HaveObjectsForArguments) {
  EXPECT_EQ(Rendered(kCalls, Calling(R"({"a": "ü", "b": [1, {}]})")), R"([assistant:<f {"a": "ü", "b": [1, {}]}>])");
  EXPECT_EQ(Rendered(kCalls, Calling({{"a", 1}})), R"([assistant:<f {"a": 1}>])");
  const Json discarded(Json::value_t::discarded);
  for (const Json& nothing : {Json(""), Json(nullptr), Json::object(), discarded}) {
    EXPECT_EQ(Rendered(kCalls, Calling(nothing)), "[assistant:<f {}>]");
  }
  for (const char* no_object : {"{\"a\":", "[1]", "7", "null", "\"{}\"", "  "}) {
    EXPECT_EQ(Rendered(kCalls, Calling(no_object)), "[assistant:<f {}>]") << no_object;
  }
}

TEST(ToolCalls, AreRefusedWhenTheyAreNone) {
  const auto with = [](Json calls) { return Json::array({{{"role", "assistant"}, {"tool_calls", std::move(calls)}}}); };
  const std::pair<Json, const char*> kCases[] = {
      {with("f()"), "messages[0].tool_calls must be a list"},
      {with(Json::array({7})), "messages[0].tool_calls[0] must be an object"},
      {with(Json::array({{{"type", "custom"}, {"custom", {{"name", "f"}}}}})), "messages[0].tool_calls[0].type"},
      {with(Json::array({{{"function", "f"}}})), "messages[0].tool_calls[0].function must be"},
      {with(Json::array({{{"function", {{"arguments", "{}"}}}}})), "messages[0].tool_calls[0].function must be"},
      {Calling("{\"a\":" + std::string(100'000, '[')), "nested more than 64"},
  };
  for (const auto& [messages, part] : kCases) {
    EXPECT_NE(Rendered(kCalls, messages).find(part), std::string::npos) << Rendered(kCalls, messages);
  }
}

// Clients go on with histories that another model began.
TEST(ToolCalls, OfATemplateWithoutAPlaceForThemAreLeftOut) {
  const std::string plain = Rendered(kStrings, Json::array({{{"role", "assistant"}, {"content", ""}}}));
  EXPECT_EQ(Rendered(kStrings, Calling("{}")), plain);
  const Json old = Json::array({{{"role", "assistant"}, {"function_call", {{"name", "f"}, {"arguments", "{}"}}}}});
  EXPECT_EQ(Rendered(kStrings, old), plain);
  EXPECT_NE(Rendered("{{ messages | tojson }}", Calling("{}")).find("\"name\": \"f\""), std::string::npos);
}

TEST(Messages, OfMediaAreRefused) {
  for (const char* type : {"image_url", "input_image", "input_audio", "video_url", "file"}) {
    const Json part = {{"type", type}, {type, {{"url", "data:,"}}}};
    EXPECT_EQ(Rendered(kStrings, User({TextPart("a"), part})),
              "error: messages[0].content holds a part of type " + std::string(type) + ": this model takes text only");
  }
  EXPECT_EQ(Rendered(kStrings, Json::array({{{"role", "user"}, {"content", "a"}, {"images", {"aGk="}}}})),
            "error: messages[0].images: this model takes text only");
}

TEST(Messages, OfARefusalShowIt) {
  EXPECT_EQ(Rendered(kStrings, Json::array({{{"role", "assistant"}, {"content", nullptr}, {"refusal", "no"}}})),
            "[assistant:no]");
  EXPECT_EQ(Rendered(kStrings, Json::array({{{"role", "assistant"}, {"content", "yes"}, {"refusal", "no"}}})),
            "[assistant:yes]");
}

TEST(Messages, NameTheirReasoningThreeTimes) {
  constexpr const char* kReasons =
      "{% for m in messages %}{{ m.reasoning_content }},{{ m.thinking }},{{ m.reasoning }}{% endfor %}";
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    EXPECT_EQ(Rendered(kReasons, Json::array({{{"role", "assistant"}, {"content", "a"}, {name, "why"}}})),
              "why,why,why");
  }
}

TEST(Messages, OfADeveloperAreTheSystemsToTemplatesThatDoNotKnowTheRole) {
  const Json messages = {{{"role", "developer"}, {"content", "d"}}, {{"role", "user"}, {"content", "u"}}};
  EXPECT_EQ(Rendered(kStrings, messages), "[system:d][user:u]");
  EXPECT_EQ(Rendered("{{ messages[0].role }}{{ 'developer' }}", messages), "developerdeveloper");
  const Json mixed = {{{"role", "system"}, {"content", "s"}},
                      {{"role", "user"}, {"content", "u"}},
                      {{"role", "developer"}, {"content", {TextPart("d"), TextPart("e")}}}};
  EXPECT_EQ(Rendered(kStrings, mixed), "[system:s\n\nd\ne][user:u]");
  EXPECT_EQ(Rendered(kParts, mixed), "[system:text=s\n\nd\ne;][user:text=u;]");
}

TEST(Continuing, EndsWithinTheFinalMessage) {
  const auto talk = [](Json content) {
    return Json{{{"role", "user"}, {"content", "<i<"}}, {{"role", "assistant"}, {"content", std::move(content)}}};
  };
  constexpr const char* kStripping =
      "{% for m in messages %}<i{{ m.role }}>{{ m.content | trim }}<i>{% endfor %}{% if add_generation_prompt %}<{% "
      "endif %}";
  constexpr const char* kKeeping = "{% for m in messages %}<i{{ m.role }}>{{ m.content }}<i>{% endfor %}";
  EXPECT_EQ(Rendered(kKeeping, talk("<"), true), "<iuser><i<<i><iassistant><");
  EXPECT_EQ(Rendered(kKeeping, talk("i"), true), "<iuser><i<<i><iassistant>i");
  EXPECT_EQ(Rendered(kKeeping, talk(""), true), "<iuser><i<<i><iassistant>");
  EXPECT_EQ(Rendered(kKeeping, talk(" \n"), true), "<iuser><i<<i><iassistant> \n");
  EXPECT_EQ(Rendered(kStripping, talk(" so far "), true), "<iuser><i<<i><iassistant>so far");
  EXPECT_EQ(Rendered(kStripping, talk("  "), true), "<iuser><i<<i><iassistant>");
  EXPECT_EQ(Rendered(kParts, talk({TextPart("a"), TextPart("b ")}), true), "[user:text=<i<;][assistant:text=a;text=b ");
  EXPECT_NE(Rendered("{{ messages[0].content }}", talk("x"), true).find("does not show"), std::string::npos);
  EXPECT_NE(Rendered("{{ messages[1].content | upper }}", talk("x"), true).find("does not show"), std::string::npos);
  EXPECT_NE(Rendered(kParts, talk(nullptr), true).find("no text to continue"), std::string::npos);
}

TEST(Continuing, IsAskedForByAPrefixToo) {
  Json messages = {{{"role", "user"}, {"content", "u"}}, {{"role", "assistant"}, {"content", "a"}, {"prefix", true}}};
  EXPECT_EQ(Rendered(kStrings, messages), "[user:u][assistant:a");
  messages.back()["prefix"] = false;
  EXPECT_EQ(Rendered(kStrings, messages), "[user:u][assistant:a]");
}

// tests/goldens/chats.json: what vLLM and Transformers make of the published templates (tools/golden/make_chats.py).
class PublishedTemplates : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(DataDirectory() / "golden.jsonl.gz")) {
      GTEST_SKIP() << "test data absent: " << DataDirectory().string();
    }
    golden_ = Json::parse(ReadText(std::string(QUIRE_SOURCE_DIR) + "/tests/goldens/chats.json"));
    for (const auto& [name, row] : golden_["templates"].items()) {
      auto parsed = ChatTemplate::Parse(TemplateSource(name), {.now = FixedTime, .variables = row["special_tokens"]});
      if (parsed.ok()) templates_.emplace(name, *std::move(parsed));
    }
    EXPECT_GE(templates_.size(), 145U);
  }

  Json golden_;
  std::map<std::string, std::unique_ptr<ChatTemplate>> templates_;
};

TEST_F(PublishedTemplates, TakeContentAsVllmDetects) {
  // This one asks for msg.get('content') and iterates over it, which vLLM does not see.
  constexpr std::string_view kAsksByGet = "ik_llama.cpp/Kimi-K2-Instruct.jinja";
  for (const auto& [name, parsed] : templates_) {
    const Json wanted = name == kAsksByGet ? Json("openai") : golden_["templates"][name]["format"];
    EXPECT_EQ(parsed->traits().takes_parts ? "openai" : "string", wanted) << name;
  }
}

TEST_F(PublishedTemplates, ContinueTheFinalMessageAsTransformersDoes) {
  size_t num_rendered = 0;
  for (const auto& [name, parsed] : templates_) {
    const Json& wanted = golden_["templates"][name]["continued"];
    for (size_t i = 0; i < wanted.size(); ++i) {
      const auto rendered =
          RenderChat(*parsed, {.messages = golden_["conversations"][i], .continue_final_message = true});
      EXPECT_EQ(rendered.ok(), !wanted[i].is_null()) << name << " " << i;
      if (!rendered.ok() || wanted[i].is_null()) continue;
      ++num_rendered;
      const auto* bytes = reinterpret_cast<const Bytef*>(rendered->data());
      EXPECT_EQ(Json::array({rendered->size(), crc32(0, bytes, static_cast<uInt>(rendered->size()))}), wanted[i])
          << name << " " << golden_["conversations"][i].back() << "\n"
          << *rendered;
    }
  }
  EXPECT_GT(num_rendered, 1000U);
}

// openai's message.model_dump(), LiteLLM and others send every field that there is.
TEST_F(PublishedTemplates, RenderHistoriesWithEmptyFieldsAsWithoutThem) {
  const Json plain = {{{"role", "system"}, {"content", "s"}},
                      {{"role", "user"}, {"content", "a"}},
                      {{"role", "assistant"}, {"content", "b"}},
                      {{"role", "user"}, {"content", "c"}}};
  size_t num_rendered = 0;
  for (const Json& empty : {Json(nullptr), Json(""), Json::array(), Json::object()}) {
    Json full = plain;
    for (Json& message : full) {
      for (const char* name : {"tool_calls", "function_call", "name", "refusal", "audio", "annotations", "thinking",
                               "reasoning_content", "reasoning", "tool_call_id", "tools", "documents", "recipient"}) {
        message[name] = empty;
      }
    }
    for (const auto& [name, parsed] : templates_) {
      const auto without = RenderChat(*parsed, {.messages = plain});
      const auto with = RenderChat(*parsed, {.messages = full});
      ASSERT_EQ(with.ok(), without.ok()) << name;
      if (!with.ok()) continue;
      ++num_rendered;
      EXPECT_EQ(*with, *without) << name << " " << empty;
    }
  }
  EXPECT_GT(num_rendered, 400U);
}

// Histories with calls render, whichever way their arguments were sent, and say nothing twice quoted.
TEST_F(PublishedTemplates, RenderCallsAlikeWhicheverWayTheyWereSent) {
  const auto talk = [](const Json& arguments, const Json& result) {
    Json call = {{"id", "call00001"}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", arguments}}}};
    return Json{{{"role", "user"}, {"content", "a"}},
                {{"role", "assistant"}, {"content", nullptr}, {"tool_calls", Json::array({std::move(call)})}},
                {{"role", "tool"}, {"tool_call_id", "call00001"}, {"name", "f"}, {"content", result}},
                {{"role", "user"}, {"content", "c"}}};
  };
  const Json sent = talk(R"({"city": "Oslo"})", Json::array({TextPart("cold")}));
  const Json plain = talk({{"city", "Oslo"}}, "cold");
  size_t num_rendered = 0;
  for (const auto& [name, parsed] : templates_) {
    const auto one = RenderChat(*parsed, {.messages = sent});
    const auto other = RenderChat(*parsed, {.messages = plain});
    ASSERT_EQ(one.ok(), other.ok()) << name;
    if (!one.ok()) continue;
    ++num_rendered;
    EXPECT_EQ(*one, *other) << name;
    EXPECT_EQ(one->find("{\\\"city"), std::string::npos) << name << "\n" << *one;
  }
  EXPECT_GT(num_rendered, 60U);
}

}  // namespace
}  // namespace quire
