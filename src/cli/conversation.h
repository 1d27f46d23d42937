// What `quire chat` keeps: the messages so far, and the commands that people give between them. No model.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "quire/result.h"

namespace quire {

class Conversation {
 public:
  // What a line asks for.
  enum class Next { kAnswer, kNothing, kQuit };

  explicit Conversation(std::string system);

  // Takes a message of the user, or obeys a command, and sets `reply` to what is to be printed. kAnswer: the messages
  // end with one of the user.
  Next Take(const std::string& line, std::string& reply);

  void AddAnswer(const std::string& text);
  // After a failure: takes back what the user said last.
  void DropQuestion();

  const nlohmann::ordered_json& messages() const { return messages_; }

 private:
  void StartOver();
  bool EndsWith(const char* role) const;
  Next Obey(const std::string& command, const std::string& argument, std::string& reply);
  Next Regenerate(std::string& reply);
  std::string SetSystem(const std::string& text);
  std::string Save(const std::string& path) const;

  std::string system_;
  nlohmann::ordered_json messages_;
};

}  // namespace quire
