// What every part of the probe needs of a card: memory that checks its calls, random operands made on the device, and
// times by events. Every failed call throws DeviceError, which ends the part that made it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace quire::probe {

struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws DeviceError, naming `what`, unless the status is success.
void Check(cudaError_t status, const char* what);
// Check of the launch before it. Does not wait for the kernel.
inline void CheckLaunch(const char* kernel) { Check(cudaGetLastError(), kernel); }

struct Card {
  std::string name;
  int multiprocessors = 0;
  int major = 0, minor = 0;
  size_t l2_bytes = 0, memory_bytes = 0, free_bytes = 0;
};
Card DescribeCard();

// Plain device memory; move-only.
template <typename T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(size_t count) : count_(count) {
    Check(cudaMalloc(reinterpret_cast<void**>(&data_), count * sizeof(T)), "cudaMalloc");
  }
  explicit DeviceArray(std::span<const T> host) : DeviceArray(host.size()) { Upload(host); }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(DeviceArray&& other) noexcept : data_(other.data_), count_(other.count_) { other.data_ = nullptr; }
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }

  T* data() const { return data_; }
  size_t count() const { return count_; }
  size_t bytes() const { return count_ * sizeof(T); }

  void Upload(std::span<const T> host) {
    Check(cudaMemcpy(data_, host.data(), host.size_bytes(), cudaMemcpyHostToDevice), "upload");
  }
  std::vector<T> Download(size_t offset, size_t count) const {
    std::vector<T> host(count);
    Check(cudaMemcpy(host.data(), data_ + offset, count * sizeof(T), cudaMemcpyDeviceToHost), "download");
    return host;
  }
  std::vector<T> Download() const { return Download(0, count_); }
  // Bytes of 0xFF: NaN in every float format.
  void Poison() { Check(cudaMemset(data_, 0xFF, bytes()), "cudaMemset"); }

 private:
  T* data_ = nullptr;
  size_t count_ = 0;
};

// Normal numbers times `scale` in bf16, or random bytes; the same for the same seed.
void FillNormalBf16(uint16_t* data, size_t count, float scale, uint64_t seed);
void FillRandomBytes(void* data, size_t bytes, uint64_t seed);

// Seconds of one call of `work` on a stream, by events around `calls` of them: of `samples`, after warm-ups.
struct Timing {
  double median = 0, min = 0, max = 0;
};
Timing Measure(const std::function<void(cudaStream_t)>& work, int samples = 7, int calls = 1);
// One call of each in turn, `samples` times over: what drifts (clocks, heat) touches all alike.
std::vector<Timing> MeasureInTurn(const std::vector<std::function<void(cudaStream_t)>>& works, int samples = 9);
// Measure with the calls captured in one graph: what a step replays.
Timing MeasureGraph(const std::function<void(cudaStream_t)>& work, int samples = 7, int calls = 1);

struct Options {
  bool check_only = false;  // small random shapes against the host, no timing
  uint64_t seed = 1;
  double copy_bandwidth = 0;  // bytes/s, read plus written, as `ceilings` measured it; 0: measured anew
  double matrix_rate = 0;     // bf16 FLOP/s, likewise
};

// bytes/s of a large device-to-device copy, read plus written.
double MeasureCopyBandwidth();
// FLOP/s of an 8,192 cubed bf16 product with float sums on random data, by cuBLASLt; 0 where the library is missing.
double MeasureMatrixRate();

// The parts. Each prints its table as it goes and returns whether every check held.
bool RunCeilings(const Options& options);
bool RunSimtCheck(const Options& options);
bool RunDecodeAttention(const Options& options);
bool RunPrefillAttention(const Options& options);
bool RunPrefillMma(const Options& options);
bool RunLinear(const Options& options);
bool RunStep(const Options& options);

}  // namespace quire::probe
