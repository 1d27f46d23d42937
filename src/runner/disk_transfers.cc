#include "runner/disk_transfers.h"

#include <chrono>
#include <exception>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"

namespace quire {

DiskTransfers::DiskTransfers(std::unique_ptr<DiskStore> store, const Backend& backend, KvCache& cache, int num_threads)
    : store_(std::move(store)), backend_(backend), cache_(cache) {
  QUIRE_CHECK_GE(num_threads, 1);
  for (int i = 0; i < num_threads; ++i) {
    lanes_.push_back(std::make_unique<Lane>());
    lanes_.back()->block.resize(cache.shape().BytesPerBlock());
  }
  for (const auto& lane : lanes_) threads_.emplace_back([this, &lane = *lane] { Run(lane); });
}

DiskTransfers::~DiskTransfers() {
  {
    const std::lock_guard lock(mutex_);
    stops_ = true;
    for (const auto& lane : lanes_) {
      lane->loads.clear();
      std::erase_if(lane->others, [](const Job& job) { return job.transfer.kind != Transfer::Kind::kDrop; });
      lane->has_job.notify_one();
    }
  }
  for (std::thread& thread : threads_) thread.join();
}

DiskTransfers::Lane& DiskTransfers::LaneOf(const PrefixDigest& digest) { return *lanes_[digest.low % lanes_.size()]; }

void DiskTransfers::Submit(const Transfer& transfer, std::span<const int32_t> tokens) {
  Job job = {.transfer = transfer, .tokens = {tokens.begin(), tokens.end()}};
  Lane& lane = LaneOf(transfer.digest);
  const std::lock_guard lock(mutex_);
  (transfer.kind == Transfer::Kind::kLoad ? lane.loads : lane.others).push_back(std::move(job));
  ++num_outstanding_;
  lane.has_job.notify_one();
}

void DiskTransfers::Collect(bool wait, std::vector<uint64_t>& completed, std::vector<uint64_t>& failed) {
  std::unique_lock lock(mutex_);
  if (wait) {
    QUIRE_CHECK(num_outstanding_ > 0, "no transfer is under way: there is nothing to wait for");
    // Not longer: the step loop has clients to listen to, and a disk may hang.
    constexpr std::chrono::milliseconds kPatience(5);
    has_ended_.wait_for(lock, kPatience, [&] { return !completed_.empty() || !failed_.empty(); });
  }
  num_outstanding_ -= completed_.size() + failed_.size();
  completed.insert(completed.end(), completed_.begin(), completed_.end());
  failed.insert(failed.end(), failed_.begin(), failed_.end());
  completed_.clear();
  failed_.clear();
}

void DiskTransfers::Run(Lane& lane) {
  std::unique_lock lock(mutex_);
  for (;;) {
    lane.has_job.wait(lock, [&] { return stops_ || !lane.loads.empty() || !lane.others.empty(); });
    if (lane.loads.empty() && lane.others.empty()) break;  // it stops
    std::deque<Job>& queue = lane.loads.empty() ? lane.others : lane.loads;
    const Job job = std::move(queue.front());
    queue.pop_front();
    lock.unlock();
    const bool succeeded = Succeeds(lane, job);
    lock.lock();
    (succeeded ? completed_ : failed_).push_back(job.transfer.id);
    has_ended_.notify_one();
  }
  lock.unlock();
  for (const PrefixDigest& digest : std::exchange(lane.undropped, {})) {
    (void)Succeeds(lane, {.transfer = {.kind = Transfer::Kind::kDrop, .digest = digest}, .tokens = {}});
  }
}

bool DiskTransfers::Succeeds(Lane& lane, const Job& job) {
  try {
    const Status status = CarryOut(lane, job);
    Log(job, status);
    return status.ok();
  } catch (const std::exception& exception) {  // there is no memory, above all
    Log(job, Internal("a transfer of the prefix cache ended with {}", exception.what()));
    return false;
  }
}

Status DiskTransfers::CarryOut(Lane& lane, const Job& job) {
  const Transfer& transfer = job.transfer;
  const BlockKey key = {.digest = transfer.digest, .parent = transfer.parent, .tokens = job.tokens};
  const auto id = static_cast<uint32_t>(transfer.block);
  const std::span<std::byte> block = lane.block;
  switch (transfer.kind) {
    case Transfer::Kind::kStore:
      backend_.ReadBlock(cache_, id, block.data());
      QUIRE_RETURN_IF_ERROR(store_->Store(key, block));
      lane.undropped.erase(transfer.digest);
      return {};
    case Transfer::Kind::kLoad:
      QUIRE_RETURN_IF_ERROR(store_->Load(key, block));
      backend_.WriteBlock(cache_, id, block.data());
      return {};
    default:
      lane.undropped.insert(transfer.digest);  // until it is known to be gone
      QUIRE_RETURN_IF_ERROR(store_->Drop(transfer.digest));
      lane.undropped.erase(transfer.digest);
      return {};
  }
}

void DiskTransfers::Log(const Job& job, const Status& status) {
  const bool is_store = job.transfer.kind == Transfer::Kind::kStore;
  const bool is_known = is_store && stores_fail_.exchange(!status.ok());
  if (!status.ok() && !is_known) LogWarning("prefix_cache_file_failed reason={}", LogValue(status.error().message));
}

}  // namespace quire
