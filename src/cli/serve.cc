// quire serve [MODEL]: loads, listens, and waits for a signal. SIGTERM or Ctrl-C drains: no new requests, those that
// run are finished, and what is worth keeping of the prefix cache goes to disk; a second signal stops at once, as does
// the first one while the model loads.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <ctime>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "cli/generate.h"
#include "cli/port_probe.h"
#include "engine/engine.h"
#include "llm/loader.h"
#include "server/server.h"

namespace quire {
namespace {

sigset_t TerminationSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

// The next termination signal, or 0 when the time is over.
int AwaitSignal(int timeout_ms) {
  const sigset_t signals = TerminationSignals();
  const timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1'000'000L};
  const int signal = sigtimedwait(&signals, nullptr, &timeout);
  return signal > 0 ? signal : 0;
}

// Ends the process on a termination signal for as long as the thread lives: before anybody is served there is nothing
// to drain. The exit status is what a shell reports of a program that the signal has killed.
std::jthread ExitOnSignal() {
  return std::jthread([](const std::stop_token& stopped) {
    while (!stopped.stop_requested()) {
      const int signal = AwaitSignal(10);
      if (signal == 0) continue;
      LogInfo("stopped signal={} reason=\"still loading\"", signal == SIGINT ? "SIGINT" : "SIGTERM");
      _exit(128 + signal);
    }
  });
}

Result<RunningModel> StartInterruptibly(const LoadOptions& options) {
  const std::jthread watch = ExitOnSignal();
  return RunningModel::Start(options);
}

// A model without a name of its own is called as it was given.
ServerOptions WithModelName(ServerOptions options, const std::string& model_name) {
  if (options.served_model_names.empty()) options.served_model_names.push_back(model_name);
  return options;
}

ServedModel ToServedModel(const LoadedModel& loaded) {
  ServedModel served;
  served.engine = loaded.engine.get();
  served.tokenizer = loaded.tokenizer.get();
  served.chat_template = loaded.chat_template.get();
  served.chat_template_problem = loaded.chat_template_problem;
  served.defaults = DefaultSamplingParams(loaded.config);
  served.max_model_len = loaded.memory.max_model_len;
  served.root = loaded.path;
  return served;
}

void PrintWelcome(const ServeCommand& command, const LoadedModel& loaded, const std::string& model_name,
                  uint16_t port) {
  std::string host = command.server.host;
  if (host == "0.0.0.0" || host == "::") host = "127.0.0.1";
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  const bool chat = loaded.chat_template != nullptr;
  std::printf("%s", FormatMemoryPlan(loaded.memory).c_str());
  if (const uint64_t num_pinned = loaded.engine->Stats().scheduler.num_blocks_pinned; num_pinned > 0) {
    std::printf("  %-8s  %llu blocks of the KV cache, with %zu shared %s\n", "pinned",
                static_cast<unsigned long long>(num_pinned), command.load.shared_prefixes.size(),
                command.load.shared_prefixes.size() == 1 ? "prefix" : "prefixes");
  }
  std::printf("\nquire: serving %s at http://%s:%u\n\ntry:\n", model_name.c_str(), host.c_str(), unsigned{port});
  const std::string key = command.server.api_keys.empty() ? "" : "-H 'Authorization: Bearer YOUR_KEY' ";
  if (chat) {
    std::printf(
        "  curl http://%s:%u/v1/chat/completions %s-H 'Content-Type: application/json' \\\n"
        "    -d '{\"model\": \"%s\", \"messages\": [{\"role\": \"user\", \"content\": \"Tell me a story.\"}]}'\n",
        host.c_str(), unsigned{port}, key.c_str(), model_name.c_str());
  } else {
    std::printf(
        "  curl http://%s:%u/v1/completions %s-H 'Content-Type: application/json' \\\n"
        "    -d '{\"model\": \"%s\", \"prompt\": \"Once upon a time\", \"max_tokens\": 64}'\n",
        host.c_str(), unsigned{port}, key.c_str(), model_name.c_str());
  }
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  LogWarning("welcome_not_printed reason=\"standard output cannot be written\"");
  std::clearerr(stdout);  // it serves all the same
}

void LogStartup(const LoadedModel& loaded, double listen_s) {
  std::string parts;
  double total = listen_s;
  for (const auto& [what, seconds] : loaded.times) {
    parts += fmt::format("{}={:.3f} ", what, seconds);
    total += seconds;
  }
  LogInfo("started {}listen={:.3f} total={:.3f}", parts, listen_s, total);
}

// Returns when everything that ran is answered; false: a second signal came before.
bool Drain(HttpServer& server, Engine& engine) {
  LogInfo("draining requests={}", server.num_active_requests());
  server.StopAccepting();
  engine.StartDraining();
  while (server.num_active_requests() > 0 || !engine.Drained()) {
    if (AwaitSignal(20) != 0) {
      LogInfo("stopping requests={} reason=\"second signal\"", server.num_active_requests());
      return false;
    }
  }
  return true;
}

Status Serve(const ServeCommand& command) {
  // Before any thread starts, so that all of them leave these signals to this one.
  const sigset_t signals = TerminationSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  QUIRE_RETURN_IF_ERROR(ProbePort(command.server.host, command.server.port));
  QUIRE_ASSIGN_OR_RETURN(RunningModel running, StartInterruptibly(command.load));
  const TimeUs begin = Clock::Real().NowUs();
  const ServerOptions options = WithModelName(command.server, running.loaded().name);
  QUIRE_ASSIGN_OR_RETURN(const std::unique_ptr<HttpServer> server,
                         HttpServer::Start(options, ToServedModel(running.loaded())));
  LogStartup(running.loaded(), static_cast<double>(Clock::Real().NowUs() - begin) * 1e-6);
  PrintWelcome(command, running.loaded(), options.served_model_names.front(), server->port());

  while (AwaitSignal(1000) == 0) {
  }
  if (Drain(*server, running.engine())) running.StorePrefixCache([] { return AwaitSignal(20) != 0; });
  server->Stop();
  LogInfo("stopped");
  return {};
}

}  // namespace

int RunServe(const ServeCommand& command) {
  const Status status = Serve(command);
  return status.ok() ? 0 : Complain(status.error());
}

}  // namespace quire
