#include "simt/fibre.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
// A function that never returns leaves its red zones behind, where the next one to run on the stack finds them.
#define QUIRE_LEAVES_NO_RED_ZONE __attribute__((no_sanitize_address))
#else
#define QUIRE_LEAVES_NO_RED_ZONE
#endif

namespace quire::simt {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 512 << 10;
#else
constexpr size_t kStackBytes = 128 << 10;
#endif

}  // namespace

Fibre::Fibre() : stack_(std::make_unique_for_overwrite<char[]>(kStackBytes)) {}

void Fibre::Start(FunctionRef<void()> function) {
  function_ = function;
  done_ = false;
  char* const top = stack_.get() + kStackBytes;
  inside_ = {boost::context::detail::make_fcontext(top, kStackBytes, &Fibre::Enter), stack_.get(), kStackBytes};
}

QUIRE_LEAVES_NO_RED_ZONE void Fibre::Enter(boost::context::detail::transfer_t from) {
  Fibre& self = *static_cast<Fibre*>(from.data);
  Arrive(self.inside_, self.outside_, from.fctx);
  (*self.function_)();
  self.done_ = true;
  self.Switch(self.inside_, self.outside_, true);
}

QUIRE_LEAVES_NO_RED_ZONE void Fibre::Switch(Side& from, Side& to, [[maybe_unused]] bool ends) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(ends ? nullptr : &from.fake_stack, to.bottom, to.bytes);
#endif
  Arrive(from, to, boost::context::detail::jump_fcontext(to.context, this).fctx);
}

// Takes note of where the other side was left.
QUIRE_LEAVES_NO_RED_ZONE void Fibre::Arrive(Side& here, Side& from, boost::context::detail::fcontext_t context) {
  from.context = context;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(here.fake_stack, &from.bottom, &from.bytes);
#else
  static_cast<void>(here);
#endif
}

}  // namespace quire::simt
