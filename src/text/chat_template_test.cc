// The template language, feature by feature, and its limits; what Jinja 3.1.6 does is the oracle of every text here.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/env_testing.h"
#include "text/chat_template_source.h"
#include "text/special_tokens.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

Result<std::string> Render(std::string_view source, const Json& context = Json::object()) {
  auto parsed = ChatTemplate::Parse(source);
  if (!parsed.ok()) return parsed.error();
  return (*parsed)->Render(context);
}

std::string Text(std::string_view source, const Json& context = Json::object()) {
  const auto rendered = Render(source, context);
  return rendered.ok() ? *rendered : "error: " + rendered.error().message;
}

std::string ErrorOf(std::string_view source, const Json& context = Json::object()) {
  const auto rendered = Render(source, context);
  return rendered.ok() ? "rendered: " + *rendered : rendered.error().message;
}

TEST(ChatTemplateTest, ControlsWhiteSpaceAroundBlocks) {
  EXPECT_EQ(Text("a\n  {% if true %}\nb\n  {% endif %}\nc\n"), "a\nb\nc");
  EXPECT_EQ(Text("a  {{- 'b' -}}  c"), "abc");
  EXPECT_EQ(Text("a\n  {%+ if true %}b{% endif +%}\nc"), "a\n  b\nc");
  EXPECT_EQ(Text("x {#- gone -#} y"), "xy");
  EXPECT_EQ(Text("{% raw %}{{ x }}{% endraw %}"), "{{ x }}");
}

TEST(ChatTemplateTest, PrintsValuesAsPythonDoes) {
  EXPECT_EQ(Text("{{ [1, 2.0, 'a', none, true, {'k': (1,)}] }}"), "[1, 2.0, 'a', None, True, {'k': (1,)}]");
  EXPECT_EQ(Text("{{ [\"it's\", 'q\"', '\\n'] }}"), "[\"it's\", 'q\"', '\\n']");
  EXPECT_EQ(Text("{{ 1e16 }} {{ 0.1 + 0.2 }} {{ 7 // -2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 1 / 2 }}"),
            "1e+16 0.30000000000000004 -4 2 1024 0.5");
}

TEST(ChatTemplateTest, SlicesAndIndexesFromBothEnds) {
  const Json context = {{"x", {1, 2, 3, 4}}, {"s", "Zürich"}};
  EXPECT_EQ(Text("{{ x[1:] }}{{ x[::-1] }}{{ x[-1] }}{{ s[1:3] }}{{ s[-1] }}{{ x[9] }}", context),
            "[2, 3, 4][4, 3, 2, 1]4ürh");
}

TEST(ChatTemplateTest, ScopesAssignmentsAndNamespaces) {
  EXPECT_EQ(Text("{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 5 %}{{ x }}{% endfor %}{{ x }}"), "15151");
  EXPECT_EQ(Text("{% set n = namespace(x=0) %}{% for i in [1, 2] %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}"), "3");
  EXPECT_EQ(Text("{% set x | upper %}ab{% endset %}{{ x }}"), "AB");
}

TEST(ChatTemplateTest, LoopsWithStateFiltersAndControls) {
  EXPECT_EQ(Text("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ loop.index }}{{ k }}{{ v }}{{ ',' if not loop.last }}"
                 "{% endfor %}"),
            "1a1,2b2");
  EXPECT_EQ(Text("{% for i in range(9) if i is odd %}{% if i > 6 %}{% break %}{% endif %}{{ i }}{% endfor %}"), "135");
  EXPECT_EQ(Text("{% for i in [] %}x{% else %}none{% endfor %}"), "none");
  EXPECT_EQ(Text("{% for n in [[1, [2]], 3] recursive %}{% if n is iterable %}<{{ loop(n) }}>{% else %}{{ n }}"
                 "{% endif %}{% endfor %}"),
            "<1<2>>3");
}

TEST(ChatTemplateTest, CallsMacrosWithDefaultsAndCallers) {
  EXPECT_EQ(Text("{% macro m(a, b='d') %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, b=2) }}"), "1d12");
  EXPECT_EQ(Text("{% macro m(a) %}[{{ caller(a) }}]{% endmacro %}{% call(x) m(3) %}{{ x }}!{% endcall %}"), "[3!]");
}

TEST(ChatTemplateTest, FiltersSequences) {
  const Json context = {{"m", {{{"r", "u"}, {"n", 2}}, {{"r", "a"}, {"n", 1}}}}};
  EXPECT_EQ(Text("{{ m | map(attribute='r') | join(',') }}", context), "u,a");
  EXPECT_EQ(Text("{{ m | selectattr('r', 'equalto', 'a') | list | length }}", context), "1");
  EXPECT_EQ(Text("{{ (m | sort(attribute='n') | first).r }}", context), "a");
  EXPECT_EQ(Text("{{ {'b': 1, 'a': 'ü'} | tojson }}"), "{\"b\": 1, \"a\": \"ü\"}");
  EXPECT_EQ(Text("{{ [1, {}] | tojson(indent=2) }}"), "[\n  1,\n  {}\n]");
}

TEST(ChatTemplateTest, TreatsUndefinedAsJinjaDoes) {
  EXPECT_EQ(Text("[{{ x }}][{{ x is defined }}][{{ x | default('d') }}][{{ {}.a }}]"), "[][False][d][]");
  EXPECT_EQ(ErrorOf("\n{{ x.y }}"), "chat template, line 2: 'x' is undefined");
  EXPECT_NE(Render("{{ 'a' + x }}").ok(), true);
}

TEST(ChatTemplateTest, RaisesTheTemplatesOwnMessage) {
  const auto rendered = Render("{{ raise_exception('roles must alternate') }}");
  ASSERT_FALSE(rendered.ok());
  EXPECT_EQ(rendered.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(rendered.error().message, "roles must alternate");
}

TEST(ChatTemplateTest, RefusesMalformedTemplatesWithTheLine) {
  for (const char* source : {"\n{% if %}", "\n{{ 1 + }}", "\n{% endfor %}", "\n{{ 'a }}", "\n{# x", "\n{% for x %}",
                             "\n{{ (1 }}", "\n{% break %}", "\n{% unknown %}", "\n{{ a b }}"}) {
    const auto parsed = ChatTemplate::Parse(source);
    ASSERT_FALSE(parsed.ok()) << source;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(parsed.error().message.find("line 2"), std::string::npos) << parsed.error().message;
  }
}

std::string Repeated(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

TEST(ChatTemplateTest, BoundsRecursionStepsAndSizes) {
  const std::string loops = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
  for (const std::string& source : {
           std::string("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
           loops,
           std::string("{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}"),
           std::string("{% set n = namespace(x=1) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}"),
           std::string("{{ 'x' * 99999999999 }}"),
           std::string("{{ range(1000000) }}"),
           std::string("{{ '%99999999d' % 1 }}"),
           "{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}",
           "{{ " + std::string(5000, '-') + "1 }}",
           "{% macro m(a) %}{{ a.b.c }}{% endmacro %}{{ " + Repeated("m(", 90) + "m(1)" + std::string(90, ')') + " }}",
       }) {
    EXPECT_FALSE(Render(source).ok()) << source.substr(0, 80);
  }
}

TEST(ChatTemplateTest, KeepsListsAndDictsUnchangeable) {
  EXPECT_FALSE(Render("{% set x = [] %}{{ x.append(1) }}").ok());
  EXPECT_FALSE(Render("{% set x = {} %}{{ x.update({'a': 1}) }}").ok());
}

TEST(ChatTemplateSourceTest, PicksTheTemplateAndTheTokens) {
  const TemporaryDirectory temporary;
  const std::string& path = temporary.path();
  const std::filesystem::path directory = path;
  EXPECT_EQ(LoadChatTemplateSource(path).error().code, ErrorCode::kNotFound);

  const Json config = {
      {"bos_token", {{"content", "<s>"}}},
      {"eos_token", "</s>"},
      {"chat_template", {{{"name", "default"}, {"template", "plain"}}, {{"name", "tool_use"}, {"template", "tools"}}}}};
  std::ofstream(directory / "tokenizer_config.json") << config.dump();
  const auto loaded = LoadChatTemplateSource(path);
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(*loaded, "plain");
  EXPECT_EQ(*LoadChatTemplateSource(path, true), "tools");
  const Json by_name = {{"chat_template", {{"default", "plain"}, {"tool_use", "tools"}}}};
  std::ofstream(directory / "tokenizer_config.json") << by_name.dump();
  EXPECT_EQ(*LoadChatTemplateSource(path), "plain");
  EXPECT_EQ(*LoadChatTemplateSource(path, true), "tools");

  std::ofstream(directory / "chat_template.json") << R"({"chat_template": "of a processor"})";
  EXPECT_EQ(*LoadChatTemplateSource(path), "plain");
  std::ofstream(directory / "tokenizer_config.json") << "{}";
  EXPECT_EQ(*LoadChatTemplateSource(path), "of a processor");
  std::filesystem::create_directories(directory / "additional_chat_templates");
  std::ofstream(directory / "additional_chat_templates" / "default.jinja") << "among others";
  EXPECT_EQ(*LoadChatTemplateSource(path), "among others");
  std::ofstream(directory / "chat_template.jinja") << "beside";
  EXPECT_EQ(*LoadChatTemplateSource(path), "beside");

  std::ofstream(directory / "chat_template.jinja") << "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n";
  EXPECT_NE(LoadChatTemplateSource(path).error().message.find("git lfs pull"), std::string::npos);
}

// What Transformers' special_tokens_map says of a directory with these files; null: no such file.
struct SpecialTokensCase {
  const char* name;
  Json config;
  Json map;
  const char* model_type;
  Json want;
};

TEST(SpecialTokensTest, AreThoseOfTransformers) {
  const Json llama = {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}};
  const Json qwen = {{"eos_token", "<|endoftext|>"}, {"unk_token", "<|endoftext|>"}, {"pad_token", "<|endoftext|>"}};
  const Json plain = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"bos_token", "<s>"}};
  const auto with = [](Json object, const Json& more) {
    object.update(more);
    return object;
  };
  const Json empty = Json::object();
  const SpecialTokensCase kCases[] = {
      {"nothing", nullptr, nullptr, "llama", empty},
      {"class of llama", {{"tokenizer_class", "LlamaTokenizerFast"}}, nullptr, "llama", llama},
      {"null",
       {{"tokenizer_class", "LlamaTokenizer"}, {"bos_token", nullptr}},
       nullptr,
       "llama",
       {{"eos_token", "</s>"}, {"unk_token", "<unk>"}}},
      {"class of codegen",
       {{"tokenizer_class", "CodeGenTokenizer"}},
       nullptr,
       "llama",
       {{"bos_token", "<|endoftext|>"}, {"eos_token", "<|endoftext|>"}, {"unk_token", "<|endoftext|>"}}},
      {"mistral has no defaults", {{"tokenizer_class", "LlamaTokenizer"}}, nullptr, "mistral", empty},
      {"qwen2 has a class of its own", {{"tokenizer_class", "LlamaTokenizer"}}, nullptr, "qwen2", qwen},
      {"qwen3 without a class", empty, nullptr, "qwen3", qwen},
      {"qwen3 with another class", {{"tokenizer_class", "PreTrainedTokenizerFast"}}, nullptr, "qwen3", empty},
      {"the map goes first",
       plain,
       {{"bos_token", {{"content", "</s>"}}}, {"eos_token", "</s>"}},
       "llama",
       {{"bos_token", "</s>"}, {"eos_token", "</s>"}}},
      {"the map takes away", plain, {{"bos_token", nullptr}}, "llama", empty},
      {"added tokens put the map off",
       with(plain, {{"added_tokens_decoder", Json::object()}}),
       {{"bos_token", "</s>"}, {"eos_token", "</s>"}},
       "llama",
       {{"bos_token", "<s>"}}},
      {"named ones",
       with(plain, {{"additional_special_tokens", {"<x>"}},
                    {"image_token", "<img>"},
                    {"chat_token", 5},
                    {"extra_special_tokens", {{"foo_token", "<foo>"}, {"bar", "<bar>"}}}}),
       nullptr,
       "llama",
       {{"bos_token", "<s>"}, {"image_token", "<img>"}, {"foo_token", "<foo>"}, {"bar", "<bar>"}}},
      {"named ones of the map",
       empty,
       {{"image_token", "<img>"}, {"extra_special_tokens", {{"foo_token", "<foo>"}}}},
       "llama",
       {{"image_token", "<img>"}, {"foo_token", "<foo>"}}},
      {"empty is a text", {{"bos_token", ""}}, nullptr, "llama", {{"bos_token", ""}}},
  };
  for (const SpecialTokensCase& c : kCases) {
    const TemporaryDirectory directory;
    const auto write = [&](const char* file, const Json& json) {
      if (!json.is_null()) std::ofstream(JoinPath(directory.path(), file)) << json.dump();
    };
    write("tokenizer_config.json", c.config);
    write("special_tokens_map.json", c.map);
    write("config.json", {{"model_type", c.model_type}});
    const auto tokens = text::LoadSpecialTokens(directory.path(), "");
    ASSERT_TRUE(tokens.ok()) << c.name << ": " << tokens.error().message;
    nlohmann::json by_name = nlohmann::json::object();  // in any order
    for (const NamedToken& token : *tokens) by_name[token.name] = token.text;
    EXPECT_EQ(by_name, nlohmann::json(c.want)) << c.name;
  }
}

TEST(ChatTemplateTest, KnowsItsOwnVariablesUnlessTheContextSetsThem) {
  const auto parsed =
      ChatTemplate::Parse("{{ bos_token }}{{ unk_token is defined }}", {.variables = {{"bos_token", "b"}}});
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*(*parsed)->Render(Json::object()), "bFalse");
  EXPECT_EQ(*(*parsed)->Render({{"bos_token", "c"}, {"unk_token", "u"}}), "cTrue");
}

}  // namespace
}  // namespace quire
