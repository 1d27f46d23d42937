// quire chat [MODEL]: a conversation in the terminal. Ctrl-C ends an answer, Ctrl-D the conversation.
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "cli/conversation.h"
#include "cli/generate.h"
#include "cli/line_editor.h"
#include "cli/output.h"
#include "llm/loader.h"
#include "text/chat_rendering.h"
#include "text/tokenizer.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

Result<std::string> Answer(RunningModel& running, const Json& messages, const SamplingOptions& sampling) {
  const LoadedModel& loaded = running.loaded();
  QUIRE_ASSIGN_OR_RETURN(const std::string prompt, RenderChat(*loaded.chat_template, {.messages = messages}));
  Request args;
  QUIRE_ASSIGN_OR_RETURN(args.prompt, loaded.tokenizer->Encode(prompt, false));
  args.params = MakeSamplingParams(loaded.config, sampling);
  return StreamToTerminal(running.engine(), std::move(args));
}

// What is printed besides answers is for people, who see it in a terminal.
void Tell(const LineEditor& editor, const std::string& text) {
  if (editor.is_interactive()) PrintAll(text);
}

void AnswerInto(Conversation& conversation, RunningModel& running, const SamplingOptions& sampling) {
  const Result<std::string> answer = Answer(running, conversation.messages(), sampling);
  if (answer.ok()) {
    conversation.AddAnswer(*answer);
  } else {
    Complain(answer.error());
    conversation.DropQuestion();
  }
}

void TalkUntilQuit(const ChatCommand& command, RunningModel& running, LineEditor& editor) {
  Conversation conversation(command.system);
  std::optional<InterruptGuard> guard;  // between a message and its answer, too
  if (editor.is_interactive()) guard.emplace();
  std::string message, reply;
  while (std::ferror(stdout) == 0) {
    const LineEditor::End end = editor.Read(message);
    if (end == LineEditor::End::kNoMore) break;
    if (end == LineEditor::End::kInterrupted) {
      Tell(editor, "(Ctrl-D or /quit ends)\n");
      continue;
    }
    const Conversation::Next next = conversation.Take(message, reply);
    if (next == Conversation::Next::kQuit) return;
    PrintAll(reply);
    if (next == Conversation::Next::kAnswer) AnswerInto(conversation, running, command.sampling);
  }
  Tell(editor, "\n");
}

Status Converse(const ChatCommand& command) {
  QUIRE_RETURN_IF_ERROR(CheckSampling(command.sampling));
  QUIRE_ASSIGN_OR_RETURN(RunningModel running, RunningModel::Start(command.load));
  if (!running.loaded().chat_template) return InvalidArgument("{}", running.loaded().chat_template_problem);
  const std::unique_ptr<LineEditor> editor = LineEditor::Create();
  Tell(*editor, running.loaded().name + ". /help lists the commands, Ctrl-C stops an answer, Ctrl-D ends.\n");
  TalkUntilQuit(command, running, *editor);
  const InterruptGuard guard;
  running.StorePrefixCache([&, rounds = 0]() mutable {
    if (++rounds == 50) Tell(*editor, "storing the prefix cache; Ctrl-C gives up\n");
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
