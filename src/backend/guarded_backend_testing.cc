#include "backend/guarded_backend_testing.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <map>
#include <mutex>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

constexpr size_t kPage = 4096;

// One range of addresses, whose pages are given out in order, and again once all behind them are back. Any thread.
class GuardedMemory : public MemoryPool {
 public:
  GuardedMemory() {
    void* base = mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    QUIRE_CHECK(base != MAP_FAILED);
    base_ = static_cast<char*>(base);
  }
  ~GuardedMemory() override { munmap(base_, kReserved); }
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  void Open() {
    const std::lock_guard lock(mutex_);
    if (num_open_++ == 0) Protect(PROT_READ | PROT_WRITE);
  }
  void Close() {
    const std::lock_guard lock(mutex_);
    if (--num_open_ == 0) Protect(PROT_NONE);
  }

 private:
  static constexpr size_t kReserved = size_t{16} << 30;

  void* Take(size_t bytes) override {
    const std::lock_guard lock(mutex_);
    const size_t rounded = Rounded(bytes);
    if (rounded > kReserved - used_) {
      errno = ENOMEM;
      return nullptr;
    }
    char* data = base_ + used_;
    used_ += rounded;
    if (num_open_ > 0) Protect(PROT_READ | PROT_WRITE);
    return data;
  }
  void Release(void* data, size_t bytes) override {
    const std::lock_guard lock(mutex_);
    const size_t rounded = Rounded(bytes);
    QUIRE_CHECK_EQ(madvise(data, rounded, MADV_DONTNEED), 0);
    QUIRE_CHECK_EQ(mprotect(data, rounded, PROT_NONE), 0);
    free_[static_cast<char*>(data)] = rounded;
    for (auto last = free_.end(); last != free_.begin() && (--last)->first + last->second == base_ + used_;
         last = free_.end()) {
      used_ -= last->second;
      free_.erase(last);
    }
  }

  static size_t Rounded(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

  void Protect(int rights) const {
    if (used_ > 0) QUIRE_CHECK_EQ(mprotect(base_, used_, rights), 0);
  }

  std::mutex mutex_;
  char* base_ = nullptr;
  size_t used_ = 0;
  std::map<char*, size_t> free_;  // below used_
  int num_open_ = 0;
};

// While it lives, operations may touch the memory.
class Opened {
 public:
  explicit Opened(GuardedMemory& memory) : memory_(memory) { memory_.Open(); }
  ~Opened() { memory_.Close(); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

 private:
  GuardedMemory& memory_;
};

class GuardedBackend : public Backend {
 public:
  GuardedBackend(std::unique_ptr<GuardedMemory> memory, std::unique_ptr<Backend> inner)
      : memory_(std::move(memory)), inner_(std::move(inner)) {}

  std::string name() const override { return inner_->name(); }
  int num_threads() const override { return inner_->num_threads(); }

  Result<Buffer> Allocate(size_t bytes) override { return inner_->Allocate(bytes); }
  void Upload(const void* host, void* device, size_t bytes) override {
    WhileOpen(&Backend::Upload, host, device, bytes);
  }
  void Download(const void* device, void* host, size_t bytes) override {
    WhileOpen(&Backend::Download, device, host, bytes);
  }
  size_t PackedBytes(int64_t out_features, int64_t in_features, DType format) const override {
    return inner_->PackedBytes(out_features, in_features, format);
  }
  Result<std::unique_ptr<PackedLinear>> PackLinear(std::span<const MatrixPart> parts, DType format,
                                                   MemoryPool& memory) override {
    return WhileOpen(&Backend::PackLinear, parts, format, memory);
  }
  Result<std::unique_ptr<KvCache>> AllocateKvCache(const KvShape& shape) override {
    return inner_->AllocateKvCache(shape);
  }
  Status PopulateKvCache(const KvCache& cache, FunctionRef<bool()> goes_on) const override {
    return inner_->PopulateKvCache(cache, goes_on);
  }
  Result<std::unique_ptr<Batch>> NewBatch(const BatchLimits& limits) override { return inner_->NewBatch(limits); }
  size_t BatchBytes(const BatchLimits& limits) const override { return inner_->BatchBytes(limits); }
  void Prepare(Batch& batch, std::span<const int32_t> tokens, std::span<const BatchSpan> spans) override {
    WhileOpen(&Backend::Prepare, batch, tokens, spans);
  }

  void Embed(const Batch& batch, const PackedLinear& table, const Tensor& y) override {
    WhileOpen(&Backend::Embed, batch, table, y);
  }
  void RmsNorm(const RmsNormArgs& args) override { WhileOpen(&Backend::RmsNorm, args); }
  void Linear(const LinearArgs& args) override { WhileOpen(&Backend::Linear, args); }
  void RopeAndCache(const RopeAndCacheArgs& args) override { WhileOpen(&Backend::RopeAndCache, args); }
  void Attention(const AttentionArgs& args) override { WhileOpen(&Backend::Attention, args); }
  void GatedActivation(const GatedActivationArgs& args) override { WhileOpen(&Backend::GatedActivation, args); }
  void GatherRows(const Tensor& x, std::span<const int32_t> rows, const Tensor& y) override {
    WhileOpen(&Backend::GatherRows, x, rows, y);
  }
  void Sample(const SampleArgs& args) override { WhileOpen(&Backend::Sample, args); }
  void CopyBlocks(KvCache& cache, std::span<const std::pair<uint32_t, uint32_t>> copies) override {
    WhileOpen(&Backend::CopyBlocks, cache, copies);
  }
  void ReadBlock(const KvCache& cache, uint32_t block, std::byte* out) const override {
    WhileOpen(&Backend::ReadBlock, cache, block, out);
  }
  void WriteBlock(KvCache& cache, uint32_t block, const std::byte* in) const override {
    WhileOpen(&Backend::WriteBlock, cache, block, in);
  }
  std::string kv_layout() const override { return inner_->kv_layout(); }

  void ParallelFor(int64_t count, FunctionRef<void(int64_t, int64_t)> fn) override { inner_->ParallelFor(count, fn); }

 private:
  template <typename Operation, typename... Args>
  std::invoke_result_t<Operation, Backend&, Args...> WhileOpen(Operation operation, Args&&... args) const {
    const Opened open(*memory_);
    return (*inner_.*operation)(std::forward<Args>(args)...);
  }

  std::unique_ptr<GuardedMemory> memory_;
  std::unique_ptr<Backend> inner_;
};

}  // namespace

Result<std::unique_ptr<Backend>> MakeGuardedBackend(const CpuBackendOptions& options) {
  auto memory = std::make_unique<GuardedMemory>();
  QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<Backend> inner, MakeCpuBackendIn(*memory, options));
  return std::unique_ptr<Backend>(std::make_unique<GuardedBackend>(std::move(memory), std::move(inner)));
}

}  // namespace quire
