// A chat template: the input holds, with bytes of zero between them, chat_template.jinja and tokenizer_config.json,
// which may hold templates of its own. What is found is rendered over a conversation with a tool.
#include "fuzz_files.h"
#include "text/chat_rendering.h"
#include "text/chat_template.h"
#include "text/chat_template_source.h"

namespace quire::testing {
namespace {

using Json = nlohmann::ordered_json;

void Render(const std::string& source) {
  const auto chat_template = ChatTemplate::Parse(source, {.now = [] { return std::time_t{0}; }});
  if (!chat_template.ok()) return;
  static const Json messages = Json::parse(R"([
      {"role": "system", "content": "Be brief."}, {"role": "user", "content": "  Hi\n"},
      {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "call_1",
           "function": {"name": "add", "arguments": {"a": 1, "b": [2.5, null, true, "x"]}}}]},
      {"role": "tool", "tool_call_id": "call_1", "content": "3"}, {"role": "user", "content": "\u00e9\ud83d\ude42"}])");
  static const Json variables = Json::parse(R"({"tools": [{"type": "function", "function": {"name": "add",
      "description": "Adds.", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}],
      "bos_token": "<s>", "eos_token": "</s>"})");
  static_cast<void>(RenderChat(**chat_template, {.messages = messages, .variables = variables}));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static MemoryDirectory directory{"chat_template.jinja", "tokenizer_config.json"};
  directory.Write(CutAtZeros(TextOf(data, size)));
  for (const bool with_tools : {false, true}) {
    const auto source = LoadChatTemplateSource(directory.path(), with_tools);
    if (source.ok()) Render(*source);
  }
  return 0;
}

}  // namespace quire::testing
