// The name of the tensor that was written last, on one line of the terminal; nothing where standard error is none.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <string_view>

namespace quire {

class TensorProgress {
 public:
  TensorProgress() = default;
  ~TensorProgress() { Show(""); }
  TensorProgress(const TensorProgress&) = delete;
  TensorProgress& operator=(const TensorProgress&) = delete;

  void Show(std::string_view tensor) const {
    if (shows_) std::fprintf(stderr, "\r\033[K%.*s", static_cast<int>(tensor.size()), tensor.data());
  }

 private:
  bool shows_ = isatty(STDERR_FILENO) != 0;
};

}  // namespace quire
