// A function on a stack of its own, left in its middle and resumed later without a system call.
//
// Not thread-safe: a fibre is resumed by the host thread that started it. AddressSanitizer is told of every switch.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <memory>
#include <optional>

#include "base/function_ref.h"

namespace quire::simt {

// One that is destroyed in the middle of its function is abandoned: what lies on its stack is not destroyed.
class Fibre {
 public:
  Fibre();
  Fibre(const Fibre&) = delete;
  Fibre& operator=(const Fibre&) = delete;

  // Makes the next Resume begin `function`, from which no exception may escape. REQUIRES: done().
  void Start(FunctionRef<void()> function);
  bool done() const { return done_; }

  // Runs the function until it yields or returns. REQUIRES: !done().
  void Resume() { Switch(outside_, inside_, false); }
  // Back to Resume. REQUIRES: called on the fibre.
  void Yield() { Switch(inside_, outside_, false); }

 private:
  // A stack, and where on it to go on.
  struct Side {
    boost::context::detail::fcontext_t context = nullptr;
    const void* bottom = nullptr;
    size_t bytes = 0;
    void* fake_stack = nullptr;  // AddressSanitizer's
  };

  static void Enter(boost::context::detail::transfer_t from);
  void Switch(Side& from, Side& to, bool ends);
  static void Arrive(Side& here, Side& from, boost::context::detail::fcontext_t context);

  std::unique_ptr<char[]> stack_;
  std::optional<FunctionRef<void()>> function_;
  bool done_ = true;
  Side inside_, outside_;
};

}  // namespace quire::simt
