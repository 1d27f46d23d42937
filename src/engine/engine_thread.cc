#include <atomic>
#include <exception>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "engine/engine.h"

namespace quire {

struct EngineThread::Impl {
  explicit Impl(Engine& engine) : engine(engine) {}

  Engine& engine;
  std::atomic<bool> stopping{false};
  std::thread thread;

  void Loop() {
    while (!stopping) {
      if (!engine.Step() && !stopping) engine.WaitForWork();
    }
  }

  // One of the two doors where exceptions end: whatever a library threw fails the engine, not the process. The loop
  // goes on, to answer what still comes in with the reason.
  void Run() {
    while (!stopping) {
      try {
        Loop();
      } catch (const std::exception& exception) {
        engine.Fail(Internal("the engine failed: {}", exception.what()));
      }
    }
    try {
      engine.Stop();
    } catch (const std::exception& exception) {
      LogError("engine_stop_failed reason={}", LogValue(exception.what()));
    }
  }
};

EngineThread::EngineThread(Engine& engine) : impl_(std::make_unique<Impl>(engine)) {
  impl_->thread = std::thread([impl = impl_.get()] { impl->Run(); });
}

EngineThread::~EngineThread() { Stop(); }

void EngineThread::Stop() {
  if (!impl_->thread.joinable()) return;
  impl_->stopping = true;
  impl_->engine.Wake();
  impl_->thread.join();
}

}  // namespace quire
