// NVIDIA's own product, as the peer of the kernels here: cuBLASLt, found at run time, so that the program links and
// runs without it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>

namespace quire::probe {

// One stream at a time: all products share a workspace. Failed calls throw DeviceError.
class CublasLt {
 public:
  // The library that QUIRE_CUBLASLT names, or else the one that the loader finds (LD_LIBRARY_PATH); null where there is
  // none.
  static std::unique_ptr<CublasLt> Open();
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  // y[M, N] = x[M, K] w[N, K]^T: bf16 in and out, float sums. The first product of a shape asks the library's heuristic
  // for its algorithm; it must not be captured.
  void Linear(const uint16_t* x, const uint16_t* w, uint16_t* y, int64_t m, int64_t n, int64_t k, cudaStream_t stream);

 private:
  struct Library;
  struct Plan;
  struct State;
  explicit CublasLt(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace quire::probe
