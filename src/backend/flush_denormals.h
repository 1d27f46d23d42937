// The floating-point mode of every operation: denormal operands count as zero and denormal results become zero, as the
// CPU's bf16 dot product does by definition. Per thread, for the scope's life.
//
// The arithmetic belongs in functions of other files, called inside of the scope: a compiler does not order arithmetic
// against the change of mode.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace quire {

class FlushDenormalsScope {
 public:
#if defined(__x86_64__)
  FlushDenormalsScope() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero); }
  ~FlushDenormalsScope() { _mm_setcsr(saved_); }
#else
  FlushDenormalsScope() = default;
  ~FlushDenormalsScope() = default;
#endif
  FlushDenormalsScope(const FlushDenormalsScope&) = delete;
  FlushDenormalsScope& operator=(const FlushDenormalsScope&) = delete;

#if defined(__x86_64__)
 private:
  static constexpr unsigned kFlushToZero = 0x8000;
  static constexpr unsigned kDenormalsAreZero = 0x0040;
  unsigned saved_;
#endif
};

}  // namespace quire
