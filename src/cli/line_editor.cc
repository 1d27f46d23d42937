// The only file that sees libedit.
#include "cli/line_editor.h"

#include <histedit.h>
#include <langinfo.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>
#include <iostream>

namespace quire {
namespace {

constexpr const char* kPrompt = "> ";
// What a terminal puts around a pasted text, when it has been told to.
constexpr const char* kPasteOn = "\x1b[?2004h";
constexpr const char* kPasteOff = "\x1b[?2004l";
constexpr const char* kPasteBegin = "\x1b[200~";
constexpr std::wstring_view kPasteEnd = L"\x1b[201~";

volatile std::sig_atomic_t interrupted = 0, resized = 0, continued = 0;

// A signal ends a read() while this lives.
class SignalFlag {
 public:
  SignalFlag(int signal, void (*handler)(int)) : signal_(signal) {
    struct sigaction action {};
    action.sa_handler = handler;
    sigaction(signal_, &action, &previous_);
  }
  ~SignalFlag() { sigaction(signal_, &previous_, nullptr); }
  SignalFlag(const SignalFlag&) = delete;
  SignalFlag& operator=(const SignalFlag&) = delete;

 private:
  int signal_;
  struct sigaction previous_ {};
};

class PlainReader : public LineEditor {
 public:
  End Read(std::string& message) override { return std::getline(std::cin, message) ? End::kMessage : End::kNoMore; }
  bool is_interactive() const override { return false; }
};

class TerminalEditor : public LineEditor {
 public:
  explicit TerminalEditor(EditLine* edit) : edit_(edit), history_(history_init()) {
    UseUtf8();
    HistEvent event;
    history(history_, &event, H_SETSIZE, 1000);
    el_set(edit_, EL_HIST, history, history_);
    el_set(edit_, EL_EDITOR, "emacs");
    el_set(
        edit_, EL_PROMPT, +[](EditLine*) { return const_cast<char*>(kPrompt); });
    el_wset(edit_, EL_GETCFN, &ReadCharacter);
    el_source(edit_, nullptr);  // the user's .editrc
    el_set(edit_, EL_ADDFN, "quire-paste", "Take a pasted text as it is", &TakePaste);
    el_set(edit_, EL_ADDFN, "quire-newline", "Begin another line", &BeginLine);
    el_set(edit_, EL_BIND, kPasteBegin, "quire-paste", nullptr);
    el_set(edit_, EL_BIND, "\x1b\r", "quire-newline", nullptr);  // Alt-Enter
    el_set(edit_, EL_BIND, "\x1b\n", "quire-newline", nullptr);
  }
  ~TerminalEditor() override {
    history_end(history_);
    el_end(edit_);
  }
  TerminalEditor(const TerminalEditor&) = delete;
  TerminalEditor& operator=(const TerminalEditor&) = delete;

  End Read(std::string& message) override {
    interrupted = 0;
    resized = 0;
    continued = 0;
    const SignalFlag interrupt(SIGINT, [](int) { interrupted = 1; });
    const SignalFlag resize(SIGWINCH, [](int) { resized = 1; });
    const SignalFlag resume(SIGCONT, [](int) { continued = 1; });
    PrepareTerminal();
    Control(kPasteOn);
    int length = 0;
    const char* text = el_gets(edit_, &length);
    Control(kPasteOff);
    if (text == nullptr || length <= 0) {
      if (interrupted == 0) return End::kNoMore;
      el_reset(edit_);
      Control("\r\n");
      return End::kInterrupted;
    }
    message.assign(text, static_cast<size_t>(length));
    while (message.ends_with('\n')) message.pop_back();
    Remember(message);
    return End::kMessage;
  }
  bool is_interactive() const override { return true; }

 private:
  // Characters are those of UTF-8 whatever the environment says.
  static void UseUtf8() {
    std::setlocale(LC_CTYPE, "");
    if (std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
  }

  // For el_gets(), which leaves the terminal as it was before. CR and LF stay what they are, so that the two together
  // are one newline of a pasted text.
  void PrepareTerminal() {
    el_set(edit_, EL_PREP_TERM, 1);
    termios mode{};
    if (tcgetattr(STDIN_FILENO, &mode) != 0) return;
    mode.c_iflag &= ~static_cast<tcflag_t>(ICRNL | INLCR);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &mode);
  }

  static void Control(const char* sequence) {
    std::fputs(sequence, stdout);
    std::fflush(stdout);
  }

  void Remember(const std::string& message) {
    HistEvent event;
    if (!message.empty()) history(history_, &event, H_ENTER, message.c_str());
  }

  // 1; 0 at the end of the input; -1 on Ctrl-C, which ends el_gets().
  static int ReadByte(EditLine* edit, char* byte) {
    while (true) {
      const ssize_t num_read = read(STDIN_FILENO, byte, 1);
      if (num_read >= 0) return static_cast<int>(num_read);
      if (errno != EINTR || interrupted != 0) return -1;
      if (resized != 0) el_resize(edit);
      if (continued != 0) el_set(edit, EL_REFRESH);
      resized = 0;
      continued = 0;
    }
  }

  static int ReadCharacter(EditLine* edit, wchar_t* character) {
    std::mbstate_t state{};
    for (char byte = 0; true;) {
      if (const int num_read = ReadByte(edit, &byte); num_read != 1) return num_read;
      const size_t length = std::mbrtowc(character, &byte, 1, &state);
      if (length == static_cast<size_t>(-2)) continue;  // more of it is to come
      if (length == static_cast<size_t>(-1)) *character = L'\uFFFD';
      return 1;
    }
  }

  static unsigned char TakePaste(EditLine* edit, int) {
    std::wstring text;
    for (wchar_t character = 0; !text.ends_with(kPasteEnd);) {
      if (el_wgetc(edit, &character) != 1) return CC_EOF;
      if (character != L'\0') text += character;
    }
    text.resize(text.size() - kPasteEnd.size());
    for (size_t at = text.find(L'\r'); at != std::wstring::npos; at = text.find(L'\r', at)) {
      if (at + 1 < text.size() && text[at + 1] == L'\n') {
        text.erase(at, 1);
      } else {
        text[at] = L'\n';
      }
    }
    if (!text.empty()) el_winsertstr(edit, text.c_str());
    return CC_REFRESH;
  }

  static unsigned char BeginLine(EditLine* edit, int) {
    el_winsertstr(edit, L"\n");
    return CC_REFRESH;
  }

  EditLine* edit_;
  History* history_;
};

}  // namespace

std::unique_ptr<LineEditor> LineEditor::Create() {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0) return std::make_unique<PlainReader>();
  EditLine* edit = el_init("quire", stdin, stdout, stderr);
  if (edit == nullptr) return std::make_unique<PlainReader>();
  return std::make_unique<TerminalEditor>(edit);
}

}  // namespace quire
