// quire run MODEL "prompt": one completion, streamed to the terminal.
#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "cli/generate.h"
#include "llm/loader.h"
#include "text/chat_rendering.h"
#include "text/tokenizer.h"

namespace quire {
namespace {

Result<std::vector<int32_t>> EncodePrompt(const LoadedModel& loaded, const std::string& text, bool chat) {
  if (!chat) return loaded.tokenizer->Encode(text, true);
  if (!loaded.chat_template) return InvalidArgument("{}", loaded.chat_template_problem);
  const nlohmann::ordered_json messages = {{{"role", "user"}, {"content", text}}};
  QUIRE_ASSIGN_OR_RETURN(const std::string prompt, RenderChat(*loaded.chat_template, {.messages = messages}));
  return loaded.tokenizer->Encode(prompt, false);
}

Result<std::string> RunPrompt(const RunCommand& command) {
  QUIRE_RETURN_IF_ERROR(CheckSampling(command.sampling));
  QUIRE_ASSIGN_OR_RETURN(RunningModel running, RunningModel::Start(command.load));
  std::string prompt = command.prompt;
  if (prompt == "-") prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  Request args;
  QUIRE_ASSIGN_OR_RETURN(args.prompt, EncodePrompt(running.loaded(), prompt, command.chat));
  args.params = MakeSamplingParams(running.loaded().config, command.sampling);
  if (!command.chat) std::printf("%s", prompt.c_str());
  return StreamToTerminal(running.engine(), std::move(args));
}

}  // namespace

int RunOnce(const RunCommand& command) {
  SetLogLevel(LogLevel::kWarning);
  const Result<std::string> text = RunPrompt(command);
  return text.ok() ? 0 : Complain(text.error());
}

}  // namespace quire
