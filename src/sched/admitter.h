// Admitter: whether a request that waits may enter now: seats, memory beside what its prefix has in the cache, and
// whether waiting a little would find more of it there. Host logic; no thread safety.
#pragma once

#include <cstdint>
#include <span>

#include "kv/disk_tier.h"
#include "kv/hit_rate_window.h"
#include "kv/kv_space.h"
#include "sched/prefix_loads.h"
#include "sched/residency.h"
#include "sched/scheduler_event.h"
#include "sched/sequence.h"
#include "sched/waiting_queue.h"

namespace quire {

struct PrefixCounters {
  uint64_t query_tokens = 0;  // counted once per admission
  uint64_t hit_tokens = 0;    // in memory or on disk
};

class Admitter {
 public:
  // What it works on. All outlive it.
  struct Parts {
    const SchedulerConfig& config;
    KvSpace& space;
    DiskTier& disk;
    StepBuilder& builder;
    WaitingQueue& waiting;
    Residency& residency;
    EventLog& events;
  };
  explicit Admitter(const Parts& parts) : parts_(parts), loads_(parts.space, parts.disk, parts.builder) {}

  enum class Outcome : uint8_t { kAdmitted, kNoRoom, kPrefixUnderWay };
  // REQUIRES: it waits.
  Outcome TryAdmit(SequenceGroup& group);
  // Whether it would fit if no prefix of it were cached.
  bool HasRoomFor(const SequenceGroup& group) const;

  void PlanLoads() { loads_.Plan(parts_.residency.running()); }
  void ReportLoad(SequenceGroup* group, const PendingTransfer& transfer, bool completed);

  // Whether somebody waited for seats or memory in the last plan, and not for its budget of tokens alone.
  bool lacks_room() const { return lacks_room_; }
  void SetLacksRoom(bool lacks_room) { lacks_room_ = lacks_room; }
  const PrefixCounters& counters() const { return counters_; }
  double RecentHitRate() const { return hit_rate_.Rate(); }

 private:
  bool ReadsPrefixCache(const SequenceGroup& group) const;
  std::span<const int32_t> TokensToMatch(const SequenceGroup& group) const;
  bool PrefixIsUnderWay(const SequenceGroup& group, uint32_t num_matched_tokens) const;
  bool IsPutOff(const SequenceGroup& group) const;
  void Admit(SequenceGroup& group, const KvManager::Match& match);
  void ReportAdmission(const SequenceGroup& group);

  const Parts parts_;
  PrefixLoads loads_;
  uint64_t next_rank_ = 0;
  bool lacks_room_ = false;
  PrefixCounters counters_;
  HitRateWindow hit_rate_;
};

}  // namespace quire
