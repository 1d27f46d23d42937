// WaitingQueue: in which order requests that wait are looked at. By arrival; or by priority, then arrival; or fairly
// between clients: next is the client that has been given the fewest tokens, prompts and outputs alike, and of its
// requests the first (Virtual Token Counter: Sheng et al., OSDI 2024). A client that comes back from idleness starts no
// lower than the least served of those who are active: it cannot save up. Host logic; no thread safety.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "sched/sequence.h"

namespace quire {

// Urgency among groups: priority, where that counts, then rank, then arrival.
struct QueueOrder {
  bool by_priority = false;
  bool operator()(const SequenceGroup* a, const SequenceGroup* b) const;
};

class WaitingQueue {
 public:
  WaitingQueue(QueueOrder order, bool fair) : order_(order), fair_(fair) {}

  bool empty() const { return num_groups_ == 0; }
  size_t size() const { return num_groups_; }
  uint64_t num_tokens() const { return num_tokens_; }  // known ones, of all that wait
  // Of arrival, for the next group.
  uint64_t NextOrder() { return next_order_++; }
  void Insert(SequenceGroup& group);
  // REQUIRES: it waits here, and no token has come to it since.
  void Remove(SequenceGroup& group);

  // The group to look at first, and the one after `group` when that is passed over; null: no more.
  SequenceGroup* First() const;
  SequenceGroup* After(const SequenceGroup& group) const;
  // All of them, clients one after the other.
  void ForEach(const std::function<void(const SequenceGroup&)>& visit) const;

  // A request of the client exists, from Add to its end, whether it waits or not.
  void AddActive(const SequenceGroup& group);
  void RemoveActive(const SequenceGroup& group);
  // Of those whose requests exist.
  uint32_t num_active_clients() const;
  // The client has been given so many tokens.
  void Charge(const SequenceGroup& group, uint64_t num_tokens);

 private:
  struct Client {
    explicit Client(QueueOrder order) : groups(order) {}
    std::set<SequenceGroup*, QueueOrder> groups;
    uint64_t num_served = 0;
    uint64_t num_active = 0;
    uint64_t since = 0;  // breaks ties: who became active first
  };
  using Clients = std::map<std::string, Client, std::less<>>;
  struct LessServed {
    bool operator()(const Client* a, const Client* b) const {
      return a->num_served != b->num_served ? a->num_served < b->num_served : a->since < b->since;
    }
  };

  static constexpr uint64_t kNobody = 0xFFFFFFFFFFFFFFFF;
  uint64_t LeastServed() const;  // by active clients
  std::string_view KeyOf(const SequenceGroup& group) const;
  Client& ClientOf(const SequenceGroup& group);
  const Client* Find(const SequenceGroup& group) const;

  const QueueOrder order_;
  const bool fair_;
  Clients clients_;  // not fair: one, for all
  std::set<const Client*, LessServed> waiting_clients_;
  uint64_t next_since_ = 0;
  size_t num_groups_ = 0;
  uint64_t num_tokens_ = 0;
  uint64_t next_order_ = 0;
};

}  // namespace quire
