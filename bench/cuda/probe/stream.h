// Owners of the CUDA runtime's handles: streams, events, and graphs ready to launch.
#pragma once

#include <cuda_runtime.h>

#include "probe/device.h"

namespace quire::probe {

// Ordered after what the default stream was given before, as are uploads and fills.
class Stream {
 public:
  Stream() { Check(cudaStreamCreate(&handle_), "cudaStreamCreate"); }
  ~Stream() { cudaStreamDestroy(handle_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t get() const { return handle_; }
  void Wait() const { Check(cudaStreamSynchronize(handle_), "cudaStreamSynchronize"); }

 private:
  cudaStream_t handle_ = nullptr;
};

class Event {
 public:
  Event() { Check(cudaEventCreate(&handle_), "cudaEventCreate"); }
  ~Event() { cudaEventDestroy(handle_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void Record(const Stream& stream) { Check(cudaEventRecord(handle_, stream.get()), "cudaEventRecord"); }
  // Waits for this event.
  double SecondsSince(const Event& begin) const {
    float milliseconds = 0;
    Check(cudaEventSynchronize(handle_), "cudaEventSynchronize");
    Check(cudaEventElapsedTime(&milliseconds, begin.handle_, handle_), "cudaEventElapsedTime");
    return double{milliseconds} * 1e-3;
  }

 private:
  cudaEvent_t handle_ = nullptr;
};

// `calls` calls of work, captured on the stream and ready to launch. Work has run once before, outside of a capture:
// a first call may load its module or allocate, which a capture refuses.
class Graph {
 public:
  Graph(const Stream& stream, const std::function<void(cudaStream_t)>& work, int calls);
  ~Graph() { cudaGraphExecDestroy(handle_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void Launch(const Stream& stream) const { Check(cudaGraphLaunch(handle_, stream.get()), "cudaGraphLaunch"); }

 private:
  cudaGraphExec_t handle_ = nullptr;
};

}  // namespace quire::probe
