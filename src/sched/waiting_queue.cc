#include "sched/waiting_queue.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "base/check.h"

namespace quire {

bool QueueOrder::operator()(const SequenceGroup* a, const SequenceGroup* b) const {
  if (by_priority && a->request.priority != b->request.priority) return a->request.priority < b->request.priority;
  return a->rank != b->rank ? a->rank < b->rank : a->order < b->order;
}

std::string_view WaitingQueue::KeyOf(const SequenceGroup& group) const {
  return fair_ ? std::string_view(group.request.client_key) : std::string_view();
}

WaitingQueue::Client& WaitingQueue::ClientOf(const SequenceGroup& group) {
  const auto found = clients_.find(KeyOf(group));
  QUIRE_CHECK(found != clients_.end(), "client of request {}", static_cast<uint64_t>(group.request.id));
  return found->second;
}

const WaitingQueue::Client* WaitingQueue::Find(const SequenceGroup& group) const {
  const auto found = clients_.find(KeyOf(group));
  return found == clients_.end() ? nullptr : &found->second;
}

uint64_t WaitingQueue::LeastServed() const {
  uint64_t least = kNobody;
  for (const auto& [key, client] : clients_) {
    if (client.num_active > 0) least = std::min(least, client.num_served);
  }
  return least;
}

void WaitingQueue::AddActive(const SequenceGroup& group) {
  auto found = clients_.find(KeyOf(group));
  if (found == clients_.end()) found = clients_.emplace(std::string(KeyOf(group)), Client(order_)).first;
  Client& client = found->second;
  if (client.num_active > 0) {
    ++client.num_active;
    return;
  }
  const uint64_t least = LeastServed();
  client.num_active = 1;
  client.since = next_since_++;
  if (least != kNobody) client.num_served = std::max(client.num_served, least);
}

void WaitingQueue::RemoveActive(const SequenceGroup& group) {
  Client& client = ClientOf(group);
  QUIRE_CHECK(client.num_active > 0);
  if (--client.num_active > 0) return;
  // An idle client that was given no more than the least served active one would start level with it anyway: forgotten.
  const uint64_t least = LeastServed();
  std::erase_if(clients_,
                [&](const auto& entry) { return entry.second.num_active == 0 && entry.second.num_served <= least; });
}

uint32_t WaitingQueue::num_active_clients() const {
  const auto is_active = [](const auto& entry) { return entry.second.num_active > 0; };
  return static_cast<uint32_t>(std::ranges::count_if(clients_, is_active));
}

void WaitingQueue::Insert(SequenceGroup& group) {
  Client& client = ClientOf(group);
  QUIRE_CHECK(client.groups.insert(&group).second);
  ++num_groups_;
  num_tokens_ += group.front().num_tokens();
  if (client.groups.size() == 1) waiting_clients_.insert(&client);
}

void WaitingQueue::Remove(SequenceGroup& group) {
  Client& client = ClientOf(group);
  QUIRE_CHECK_EQ(client.groups.erase(&group), 1U);
  --num_groups_;
  num_tokens_ -= group.front().num_tokens();
  if (client.groups.empty()) waiting_clients_.erase(&client);
}

SequenceGroup* WaitingQueue::First() const {
  return waiting_clients_.empty() ? nullptr : *(*waiting_clients_.begin())->groups.begin();
}

SequenceGroup* WaitingQueue::After(const SequenceGroup& group) const {
  const Client* client = Find(group);
  const auto next = client->groups.upper_bound(const_cast<SequenceGroup*>(&group));
  if (next != client->groups.end()) return *next;
  const auto next_client = waiting_clients_.upper_bound(client);
  return next_client == waiting_clients_.end() ? nullptr : *(*next_client)->groups.begin();
}

void WaitingQueue::ForEach(const std::function<void(const SequenceGroup&)>& visit) const {
  for (const auto& [key, client] : clients_) {
    for (const SequenceGroup* group : client.groups) visit(*group);
  }
}

void WaitingQueue::Charge(const SequenceGroup& group, uint64_t num_tokens) {
  if (!fair_ || num_tokens == 0) return;
  Client& client = ClientOf(group);
  const bool waits = !client.groups.empty();
  if (waits) waiting_clients_.erase(&client);
  client.num_served += num_tokens;
  if (waits) waiting_clients_.insert(&client);
}

}  // namespace quire
