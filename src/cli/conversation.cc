#include "cli/conversation.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "cli/nearest_name.h"

namespace quire {
namespace {

constexpr const char* kHelp =
    "/new, /clear     start over\n"
    "/system [TEXT]   start over with this system message, or with none\n"
    "/regenerate      another answer to the last message\n"
    "/save FILE       write the messages to a file, as JSON\n"
    "/quit, /exit     end; so does Ctrl-D\n"
    "Ctrl-C stops an answer. A pasted text is one message; Alt-Enter begins another line.\n"
    "A message that begins with a slash is written with two: //etc is a path.\n";

const std::vector<std::string> kCommands = {"/help",  "/new",  "/clear", "/system", "/regenerate",
                                            "/retry", "/save", "/quit",  "/exit"};

std::string Trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t");
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

bool WriteAll(int file, const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t written = write(file, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    done += static_cast<size_t>(written);
  }
  return true;
}

}  // namespace

Conversation::Conversation(std::string system) : system_(std::move(system)) { StartOver(); }

void Conversation::StartOver() {
  messages_ = nlohmann::ordered_json::array();
  if (!system_.empty()) messages_.push_back({{"role", "system"}, {"content", system_}});
}

Conversation::Next Conversation::Take(const std::string& line, std::string& reply) {
  reply.clear();
  if (Trimmed(line).empty()) return Next::kNothing;
  // A text of several lines was pasted: it is not meant as a command.
  const bool is_command = line[0] == '/' && !line.starts_with("//") && line.find('\n') == std::string::npos;
  if (!is_command) {
    messages_.push_back({{"role", "user"}, {"content", line.starts_with("//") ? line.substr(1) : line}});
    return Next::kAnswer;
  }
  const size_t end = std::min(line.find(' '), line.size());
  return Obey(line.substr(0, end), Trimmed(line.substr(end)), reply);
}

Conversation::Next Conversation::Obey(const std::string& command, const std::string& argument, std::string& reply) {
  if (command == "/quit" || command == "/exit") return Next::kQuit;
  if (command == "/regenerate" || command == "/retry") return Regenerate(reply);
  if (command == "/help") {
    reply = kHelp;
  } else if (command == "/new" || command == "/clear") {
    StartOver();
  } else if (command == "/system") {
    reply = SetSystem(argument);
  } else if (command == "/save") {
    reply = Save(argument);
  } else {
    const std::string nearest = NearestName(command, kCommands);
    reply = fmt::format("there is no command {}{}; /help lists them\n", command,
                        nearest.empty() ? "" : fmt::format(": did you mean {}?", nearest));
  }
  return Next::kNothing;
}

bool Conversation::EndsWith(const char* role) const { return !messages_.empty() && messages_.back()["role"] == role; }

Conversation::Next Conversation::Regenerate(std::string& reply) {
  if (EndsWith("assistant")) messages_.erase(messages_.size() - 1);
  if (EndsWith("user")) return Next::kAnswer;
  reply = "there is no message to answer yet\n";
  return Next::kNothing;
}

std::string Conversation::SetSystem(const std::string& text) {
  system_ = text;
  StartOver();
  return text.empty() ? "started over without a system message\n" : "started over with this system message\n";
}

std::string Conversation::Save(const std::string& path) const {
  if (path.empty()) return "write the file's name after it: /save FILE\n";
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0 && errno == EEXIST) return fmt::format("{} exists: choose another name\n", path);
  if (file < 0) return fmt::format("cannot write {}: {}\n", path, std::strerror(errno));
  const std::string text = messages_.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  const bool is_written = WriteAll(file, text) && fsync(file) == 0;
  const int error = errno;
  close(file);
  if (!is_written) return fmt::format("cannot write {}: {}\n", path, std::strerror(error));
  return fmt::format("saved {} messages to {}\n", messages_.size(), path);
}

void Conversation::AddAnswer(const std::string& text) {
  messages_.push_back({{"role", "assistant"}, {"content", text}});
}

void Conversation::DropQuestion() {
  if (EndsWith("user")) messages_.erase(messages_.size() - 1);
}

}  // namespace quire
