// quire chat [MODEL]: a conversation in the terminal. Ctrl-C ends an answer, Ctrl-D the conversation.
#include <chrono>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "cli/generate.h"
#include "llm/loader.h"
#include "text/chat_rendering.h"
#include "text/tokenizer.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

Result<std::string> Answer(RunningModel& running, const Json& messages, const SamplingOptions& sampling) {
  const LoadedModel& loaded = running.loaded();
  QUIRE_ASSIGN_OR_RETURN(const std::string prompt, RenderChat(*loaded.chat_template, {.messages = messages}));
  SubmitArgs args;
  QUIRE_ASSIGN_OR_RETURN(args.prompt, loaded.tokenizer->Encode(prompt, false));
  args.params = MakeSamplingParams(loaded.config, sampling);
  return StreamToTerminal(running.engine(), std::move(args));
}

Status Converse(const ChatCommand& command) {
  QUIRE_ASSIGN_OR_RETURN(RunningModel running, RunningModel::Start(command.load));
  if (!running.loaded().chat_template) return InvalidArgument("{}", running.loaded().chat_template_problem);
  Json messages = Json::array();
  const auto start_over = [&] {
    messages = Json::array();
    if (!command.system.empty()) messages.push_back({{"role", "system"}, {"content", command.system}});
  };
  start_over();
  std::printf("%s. /new starts over, /quit or Ctrl-D ends, Ctrl-C stops an answer.\n", running.loaded().name.c_str());
  for (std::string line; std::printf("> "), std::fflush(stdout), std::getline(std::cin, line);) {
    if (line == "/quit" || line == "/exit") break;
    if (line == "/new") start_over();
    if (line.empty() || line == "/new") continue;
    messages.push_back({{"role", "user"}, {"content", line}});
    const Result<std::string> answer = Answer(running, messages, command.sampling);
    if (answer.ok()) {
      messages.push_back({{"role", "assistant"}, {"content", *answer}});
    } else {
      Complain(answer.error());
      messages.erase(messages.size() - 1);
    }
  }
  std::printf("\n");
  const InterruptGuard guard;
  running.StorePrefixCache([&guard, rounds = 0]() mutable {
    if (++rounds == 50) std::printf("storing the prefix cache; Ctrl-C gives up\n");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return guard.WasInterrupted();
  });
  return {};
}

}  // namespace

int RunChat(const ChatCommand& command) {
  SetLogLevel(LogLevel::kWarning);
  const Status status = Converse(command);
  return status.ok() ? 0 : Complain(status.error());
}

}  // namespace quire
