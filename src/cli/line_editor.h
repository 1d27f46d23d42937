// Lines from a person: with editing and history in a terminal, plainly from anything else. A text that is pasted is one
// message, however many lines it has, and no line is cut. One at a time: it sets handlers of signals and the locale.
#pragma once

#include <memory>
#include <string>

namespace quire {

class LineEditor {
 public:
  enum class End { kMessage, kInterrupted, kNoMore };  // Enter; Ctrl-C; Ctrl-D, or the end of the input

  // An editor if standard input and output are terminals.
  static std::unique_ptr<LineEditor> Create();
  virtual ~LineEditor() = default;

  // Sets `message` when it ends as one, without the newline at its end.
  virtual End Read(std::string& message) = 0;
  // Whether a person sees what is printed between messages, such as a greeting.
  virtual bool is_interactive() const = 0;
};

}  // namespace quire
