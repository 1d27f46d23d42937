#include "sched/swapper.h"

namespace quire {
namespace {

// After a failure, so that swap space that is full or broken is not asked at every step.
constexpr uint64_t kStepsOfRest = 1000;

std::vector<BlockTable*> TablesOf(SequenceGroup& group) {
  std::vector<BlockTable*> tables;
  for (Sequence& sequence : group.sequences) {
    for (BlockTable& table : sequence.kv.tables()) tables.push_back(&table);
  }
  return tables;
}

}  // namespace

bool Swapper::Out(SequenceGroup& group) {
  moves_.clear();
  if (!group.swapped.Out(places_, TablesOf(group), moves_)) return false;
  Issue(group, Transfer::Kind::kSwapOut);
  return true;
}

bool Swapper::In(SequenceGroup& group) {
  moves_.clear();
  if (!group.swapped.In(space_.cache().mutable_pool(), TablesOf(group), moves_)) return false;
  ++group.epoch;
  Issue(group, Transfer::Kind::kSwapIn);
  return true;
}

void Swapper::Issue(SequenceGroup& group, Transfer::Kind kind) {
  group.num_transfers = static_cast<uint32_t>(moves_.size());
  group.transfer_failed = false;
  for (const SwapMove& move : moves_) {
    Transfer& transfer = builder_.AddTransfer({.kind = kind, .request = group.request.id, .epoch = group.epoch});
    transfer.block = move.block;
    transfer.place = static_cast<uint32_t>(move.place);
  }
}

void Swapper::Observe(const StepResult& result) {
  uint32_t num_out = 0, num_in = 0;
  for (const uint64_t id : result.transfers_completed) {
    const Transfer::Kind kind = builder_.ledger().At(id).kind;
    if (kind == Transfer::Kind::kSwapOut) ++num_out;
    if (kind == Transfer::Kind::kSwapIn) ++num_in;
  }
  for (const uint64_t id : result.transfers_failed) {
    const bool out = builder_.ledger().At(id).kind == Transfer::Kind::kSwapOut;
    if (out) resumes_at_step_ = builder_.number() + kStepsOfRest;
  }
  cost_.ObserveOut(num_out, result.swap_out_us);
  cost_.ObserveIn(num_in, result.swap_in_us);
}

Swapper::Progress Swapper::Report(SequenceGroup* group, Transfer::Kind kind, bool completed) {
  ++(completed ? counters_[kind].completed : counters_[kind].failed);
  if (group == nullptr) return Progress::kUnderWay;
  group->transfer_failed = group->transfer_failed || !completed;
  if (--group->num_transfers > 0) return Progress::kUnderWay;
  return group->transfer_failed ? Progress::kFailed : Progress::kDone;
}

}  // namespace quire
