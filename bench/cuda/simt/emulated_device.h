// The emulator's device: runs a grid's blocks one after the other, a block's threads as fibres, and keeps where they
// meet: warps, named barriers, counting barriers, tiles that are under way. What instructions compute is emulator.cc's.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "simt/emulator.h"
#include "simt/fibre.h"

namespace quire::simt {

constexpr size_t kSharedAlignment = 1024;
// The address of a block's window. From sm_90 on the first KiB of shared memory is the system's.
constexpr SharedAddress kSharedBase = 1024;

// What ends a thread that made a mistake.
struct Failed {};

struct Thread {
  Fibre fibre;
  int index = 0;
  std::deque<std::vector<std::function<void()>>> copies;  // groups of CopyAsync; the last is open
};

// Where the lanes of a warp meet.
struct Warp {
  const char* instruction = nullptr;
  int arrived = 0;
  uint64_t generation = 0;
  std::array<void*, kWarpSize> operands = {};
  std::deque<std::vector<std::function<void()>>> products;  // groups; the last is open
};

struct NamedBarrier {
  int arrived = 0;
  uint64_t generation = 0;
};

struct CountingBarrier {
  int arrivals = 0, missing = 0;
  int64_t bytes = 0;
  uint32_t phase = 0;
};

struct Tile {
  SharedAddress to = 0;
  const TensorMap* map = nullptr;
  SharedAddress barrier = 0;
  int at[5] = {};
};

class Device {
 public:
  explicit Device(const LaunchShape& shape)
      : shape_(shape), random_(shape.seed), threads_(static_cast<size_t>(shape.threads)) {
    const size_t bytes = (shape.shared_bytes + kSharedAlignment - 1) / kSharedAlignment * kSharedAlignment;
    shared_storage_ = std::make_unique<char[]>(bytes + kSharedAlignment);
    const auto address = reinterpret_cast<uintptr_t>(shared_storage_.get());
    shared_ = shared_storage_.get() + (kSharedAlignment - address % kSharedAlignment) % kSharedAlignment;
  }

  std::string Run(FunctionRef<void()> kernel) {
    auto run_thread = [&] {
      try {
        kernel();
      } catch (const Failed&) {
      }
    };
    for (block_[2] = 0; block_[2] < shape_.grid_z; ++block_[2])
      for (block_[1] = 0; block_[1] < shape_.grid_y; ++block_[1])
        for (block_[0] = 0; block_[0] < shape_.grid_x; ++block_[0])
          if (!RunBlock(run_thread))
            return fmt::format("block ({}, {}, {}): {}", block_[0], block_[1], block_[2], error_);
    return {};
  }

  // --- called on fibres ---
  const LaunchShape& shape() const { return shape_; }
  int thread() const { return current_->index; }
  int lane() const { return current_->index % kWarpSize; }
  int block(int axis) const { return block_[axis]; }
  char* shared() { return shared_; }
  Thread& current() { return *current_; }
  Warp& warp() { return warps_[static_cast<size_t>(current_->index / kWarpSize)]; }
  int warp_of_group() const { return current_->index / kWarpSize % 4; }
  void Progress() { ++progress_; }

  char* Shared(SharedAddress address, size_t bytes) {
    if (!IsShared(address, bytes)) Fail(fmt::format("shared memory at {} + {}", address, bytes));
    return shared_ + (address - kSharedBase);
  }

  void Yield() { current_->fibre.Yield(); }

  void YieldForAWhile() {
    for (auto turns = random_() % 4; turns > 0; --turns) {
      Progress();
      Yield();
    }
  }

  // Ends the block with an error.
  [[noreturn]] void Fail(const std::string& what) {
    if (error_.empty()) error_ = fmt::format("thread {}: {}", thread(), what);
    throw Failed{};
  }

  template <typename Work>
  void Meet(const char* instruction, void* operand, Work work) {
    Warp& meeting = warp();
    if (meeting.arrived == 0) meeting.instruction = instruction;
    if (std::strcmp(meeting.instruction, instruction) != 0)
      Fail(fmt::format("at {} while its warp is at {}", instruction, meeting.instruction));
    meeting.operands[static_cast<size_t>(lane())] = operand;
    Progress();
    if (++meeting.arrived == kWarpSize) {
      meeting.arrived = 0;
      ++meeting.generation;
      work(meeting);
      return;
    }
    for (const uint64_t mine = meeting.generation; meeting.generation == mine;) Yield();
  }

  void Arrive(int number, int threads, bool wait) {
    NamedBarrier& barrier = named_[static_cast<size_t>(number)];
    Progress();
    const uint64_t mine = barrier.generation;
    if (++barrier.arrived == threads) {
      barrier.arrived = 0;
      ++barrier.generation;
      return;
    }
    while (wait && barrier.generation == mine) Yield();
  }

  CountingBarrier& Counting(SharedAddress address) {
    Shared(address, 8);
    const auto found = counting_.find(address);
    if (found == counting_.end()) Fail(fmt::format("no barrier at {}", address));
    return found->second;
  }
  void InitCounting(SharedAddress address, int arrivals) { counting_[address] = {arrivals, arrivals, 0, 0}; }
  void EndPhaseIfComplete(CountingBarrier& barrier) {
    Progress();
    if (barrier.missing != 0 || barrier.bytes != 0) return;
    barrier.missing = barrier.arrivals;
    ++barrier.phase;
  }

  void Enqueue(const Tile& tile) { tiles_.push_back(tile); }

 private:
  bool IsShared(SharedAddress address, size_t bytes) const {
    return address >= kSharedBase && address - kSharedBase + bytes <= shape_.shared_bytes;
  }

  bool RunBlock(FunctionRef<void()> run_thread) {
    error_.clear();
    warps_.assign(static_cast<size_t>(shape_.threads / kWarpSize), Warp());
    named_.assign(16, NamedBarrier());
    counting_.clear();
    tiles_.clear();
    std::memset(shared_, 0xFF, shape_.shared_bytes);
    for (int i = 0; i < shape_.threads; ++i) Start(threads_[static_cast<size_t>(i)], i, run_thread);
    std::vector<size_t> order(warps_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    for (;;) {
      const uint64_t before = progress_;
      bool alive = false;
      std::shuffle(order.begin(), order.end(), random_);
      for (const size_t warp : order) {
        for (size_t lane = 0; lane < kWarpSize; ++lane) {
          Thread& thread = threads_[warp * kWarpSize + lane];
          if (thread.fibre.done()) continue;
          alive = true;
          Resume(thread);
          if (!error_.empty()) return false;
        }
      }
      if (!alive) return true;
      const bool stuck = progress_ == before;
      if (stuck && tiles_.empty()) return Stuck();
      DeliverSome(stuck);
      if (!error_.empty()) return false;
    }
  }

  bool Stuck() {
    error_ = "nobody can go on; warps wait at";
    for (const Warp& warp : warps_)
      error_ += fmt::format(" {}({})", warp.arrived > 0 ? warp.instruction : "barrier", warp.arrived);
    return false;
  }

  void DeliverSome(bool at_least_one) {
    while (!tiles_.empty() && (at_least_one || random_() % 4 == 0)) {
      const size_t which = random_() % tiles_.size();
      Deliver(tiles_[which]);
      tiles_.erase(tiles_.begin() + static_cast<std::ptrdiff_t>(which));
      at_least_one = false;
    }
  }

  // Rows of 128 bytes, the second dimension's index running fastest.
  void Deliver(const Tile& tile) {
    int rows = 1;
    for (int d = 1; d < 5; ++d) rows *= tile.map->box[d];
    for (int row = 0; row < rows; ++row) DeliverRow(tile, row);
    const auto found = counting_.find(tile.barrier);
    if (found == counting_.end()) error_ = fmt::format("a tile counts at {}, where no barrier is", tile.barrier);
    if (!error_.empty()) return;
    found->second.bytes -= int64_t{128} * rows;
    EndPhaseIfComplete(found->second);
  }

  void DeliverRow(const Tile& tile, int row) {
    const TensorMap& map = *tile.map;
    const SharedAddress row_address = tile.to + static_cast<SharedAddress>(row) * 128;
    if (!IsShared(row_address, 128)) {
      error_ = fmt::format("a tile at {} leaves shared memory", tile.to);
      return;
    }
    bool inside = true;
    int64_t offset = 0;
    for (int d = 1; d < 5; row /= map.box[d], ++d) {
      const int64_t at = tile.at[d] + row % map.box[d];
      inside = inside && at >= 0 && at < map.dims[d];
      offset += at * map.strides[d];
    }
    for (int i = 0; i < 64; ++i) {
      const int64_t column = tile.at[0] + i;
      const uint16_t value = inside && column >= 0 && column < map.dims[0] ? map.base[offset + column] : uint16_t{0};
      SharedAddress address = row_address + static_cast<SharedAddress>(i) * 2;
      address ^= (address >> 7 & 7U) << 4;
      std::memcpy(shared_ + (address - kSharedBase), &value, sizeof value);
    }
  }

  static void Start(Thread& thread, int index, FunctionRef<void()> run_thread) {
    thread.index = index;
    thread.copies.assign(1, {});
    thread.fibre.Start(run_thread);
  }

  void Resume(Thread& thread) {
    current_ = &thread;
    thread.fibre.Resume();
    if (thread.fibre.done()) Progress();
  }

  LaunchShape shape_;
  std::mt19937_64 random_;
  std::vector<Thread> threads_;
  Thread* current_ = nullptr;
  int block_[3] = {};
  std::unique_ptr<char[]> shared_storage_;
  char* shared_ = nullptr;
  std::vector<Warp> warps_;
  std::vector<NamedBarrier> named_;
  std::map<SharedAddress, CountingBarrier> counting_;
  std::vector<Tile> tiles_;
  uint64_t progress_ = 0;
  std::string error_;
};

}  // namespace quire::simt
