#include "probe/cublas_lt.h"

#include <cublasLt.h>
#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <map>
#include <string>

#include "probe/device.h"

namespace quire::probe {
namespace {

constexpr size_t kWorkspaceBytes = size_t{64} << 20;

void* OpenLibrary() {
  const char* named = std::getenv("QUIRE_CUBLASLT");
  for (const char* name : {named, "libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"})
    if (void* handle = name == nullptr ? nullptr : dlopen(name, RTLD_NOW | RTLD_LOCAL)) return handle;
  return nullptr;
}

template <typename Function>
void Find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  if (function == nullptr) throw DeviceError(std::string("cuBLASLt lacks ") + name);
}

void CheckLt(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw DeviceError(std::string(what) + ": cuBLASLt status " + std::to_string(static_cast<int>(status)));
}

}  // namespace

// The library's functions that are used here.
struct CublasLt::Library {
  decltype(cublasLtCreate)* create;
  decltype(cublasLtDestroy)* destroy;
  decltype(cublasLtMatmulDescCreate)* create_product;
  decltype(cublasLtMatmulDescDestroy)* destroy_product;
  decltype(cublasLtMatmulDescSetAttribute)* set_product;
  decltype(cublasLtMatrixLayoutCreate)* create_layout;
  decltype(cublasLtMatrixLayoutDestroy)* destroy_layout;
  decltype(cublasLtMatmulPreferenceCreate)* create_preference;
  decltype(cublasLtMatmulPreferenceDestroy)* destroy_preference;
  decltype(cublasLtMatmulPreferenceSetAttribute)* set_preference;
  decltype(cublasLtMatmulAlgoGetHeuristic)* choose;
  decltype(cublasLtMatmul)* multiply;

  explicit Library(void* handle) {
    Find(handle, "cublasLtCreate", create);
    Find(handle, "cublasLtDestroy", destroy);
    Find(handle, "cublasLtMatmulDescCreate", create_product);
    Find(handle, "cublasLtMatmulDescDestroy", destroy_product);
    Find(handle, "cublasLtMatmulDescSetAttribute", set_product);
    Find(handle, "cublasLtMatrixLayoutCreate", create_layout);
    Find(handle, "cublasLtMatrixLayoutDestroy", destroy_layout);
    Find(handle, "cublasLtMatmulPreferenceCreate", create_preference);
    Find(handle, "cublasLtMatmulPreferenceDestroy", destroy_preference);
    Find(handle, "cublasLtMatmulPreferenceSetAttribute", set_preference);
    Find(handle, "cublasLtMatmulAlgoGetHeuristic", choose);
    Find(handle, "cublasLtMatmul", multiply);
  }
};

// A shape's descriptors and algorithm. The library stores by columns, where a row-major matrix is its own transpose:
// y^T[N, M] = w[N, K] x^T[K, M] with w, as stored, to be transposed.
struct CublasLt::Plan {
  const Library* library;
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;
  cublasLtMatmulAlgo_t algorithm{};

  Plan(const Library* functions, cublasLtHandle_t handle, int64_t m, int64_t n, int64_t k) : library(functions) {
    const auto rows = static_cast<uint64_t>(k), outputs = static_cast<uint64_t>(n), tokens = static_cast<uint64_t>(m);
    CheckLt(library->create_product(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    const cublasOperation_t transposed = CUBLAS_OP_T;
    CheckLt(library->set_product(product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed),
            "cublasLtMatmulDescSetAttribute");
    CheckLt(library->create_layout(&w, CUDA_R_16BF, rows, outputs, k), "cublasLtMatrixLayoutCreate");
    CheckLt(library->create_layout(&x, CUDA_R_16BF, rows, tokens, k), "cublasLtMatrixLayoutCreate");
    CheckLt(library->create_layout(&y, CUDA_R_16BF, outputs, tokens, n), "cublasLtMatrixLayoutCreate");
    ChooseAlgorithm(handle);
  }
  ~Plan() {
    for (cublasLtMatrixLayout_t layout : {w, x, y}) library->destroy_layout(layout);
    library->destroy_product(product);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

 private:
  void ChooseAlgorithm(cublasLtHandle_t handle) {
    cublasLtMatmulPreference_t preference = nullptr;
    CheckLt(library->create_preference(&preference), "cublasLtMatmulPreferenceCreate");
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    cublasStatus_t status = library->set_preference(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                    &kWorkspaceBytes, sizeof kWorkspaceBytes);
    if (status == CUBLAS_STATUS_SUCCESS)
      status = library->choose(handle, product, w, x, y, y, preference, 1, &best, &found);
    library->destroy_preference(preference);
    CheckLt(status, "cublasLtMatmulAlgoGetHeuristic");
    if (found == 0) throw DeviceError("cuBLASLt has no algorithm for this shape");
    algorithm = best.algo;
  }
};

struct CublasLt::State {
  Library library;
  cublasLtHandle_t handle = nullptr;
  DeviceArray<char> workspace;
  std::map<std::array<int64_t, 3>, std::unique_ptr<Plan>> plans;

  explicit State(void* opened) : library(opened), workspace(kWorkspaceBytes) {
    CheckLt(library.create(&handle), "cublasLtCreate");
  }
  ~State() {
    plans.clear();
    library.destroy(handle);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  const Plan& PlanFor(int64_t m, int64_t n, int64_t k) {
    std::unique_ptr<Plan>& plan = plans[{m, n, k}];
    if (plan == nullptr) plan = std::make_unique<Plan>(&library, handle, m, n, k);
    return *plan;
  }
};

CublasLt::CublasLt(std::unique_ptr<State> state) : state_(std::move(state)) {}
CublasLt::~CublasLt() = default;

// The library stays loaded until the process ends: its threads and device modules outlive a handle.
std::unique_ptr<CublasLt> CublasLt::Open() {
  void* library = OpenLibrary();
  if (library == nullptr) return nullptr;
  return std::unique_ptr<CublasLt>(new CublasLt(std::make_unique<State>(library)));
}

void CublasLt::Linear(const uint16_t* x, const uint16_t* w, uint16_t* y, int64_t m, int64_t n, int64_t k,
                      cudaStream_t stream) {
  const Plan& plan = state_->PlanFor(m, n, k);
  const float one = 1, zero = 0;
  CheckLt(state_->library.multiply(state_->handle, plan.product, &one, w, plan.w, x, plan.x, &zero, y, plan.y, y,
                                   plan.y, &plan.algorithm, state_->workspace.data(), kWorkspaceBytes, stream),
          "cublasLtMatmul");
}

}  // namespace quire::probe
