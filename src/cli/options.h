// The sub-commands and their options, as CLI11 knows them.
#pragma once

#include <functional>
#include <string>

#include "cli/commands.h"

namespace CLI {
class App;
}

namespace quire {

// One of each, at its defaults until the parser has filled it in.
struct Commands {
  ServeCommand serve;
  RunCommand run;
  ChatCommand chat;
  BenchCommand throughput, latency;
  BenchKvCommand kv;
  TokenizeCommand tokenize;
  InfoCommand info;
  QuantizeCommand quantize;
  ConvertCommand convert;
  PullCommand pull;
  ListCommand list;
  RemoveCommand remove;
};

// `commands` and `chosen` outlive the app. After parsing, `chosen` runs the command.
void AddCommands(CLI::App& app, Commands& commands, std::function<int()>& chosen);

// Whether all values that follow the option are its own, as with vLLM. CLI11 gets one at a time: it would take brackets
// for a list.
bool TakesSeveralValues(const std::string& name);

}  // namespace quire
