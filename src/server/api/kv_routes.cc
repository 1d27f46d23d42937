#include "server/api/kv_routes.h"

#include <mutex>
#include <optional>
#include <utility>

#include "engine/engine.h"
#include "server/api/api_error.h"
#include "server/api/exchanges.h"
#include "server/api/json_writer.h"
#include "server/api/model_context.h"
#include "server/api/worker_pool.h"

namespace quire::server {
namespace {

int64_t Number(uint64_t value) { return static_cast<int64_t>(value); }

// Becomes the exchange that is made, on the I/O thread, of what the engine's thread leaves.
template <typename T>
class EngineExchange final : public HttpExchange {
 public:
  using Make = std::function<std::unique_ptr<HttpExchange>(T)>;

  explicit EngineExchange(Make make) : make_(std::move(make)) {}

  const HttpReply* Head() override {
    if (made_ == nullptr) {
      std::optional<T> left = Take();
      if (left) made_ = make_(*std::move(left));
    }
    return made_ == nullptr ? nullptr : made_->Head();
  }
  bool Read(std::string& out) override { return made_ == nullptr || made_->Read(out); }

  // Any thread, also when this is gone. Must be quick: the engine waits.
  std::function<void(T)> Leaver(std::function<void()> notify) const {
    return [weak = std::weak_ptr(slot_), notify = std::move(notify)](T value) {
      const std::shared_ptr<Slot> slot = weak.lock();
      if (slot == nullptr) return;
      {
        std::lock_guard lock(slot->mutex);
        slot->left = std::move(value);
      }
      notify();
    };
  }

 private:
  struct Slot {
    std::mutex mutex;
    std::optional<T> left;
  };

  std::optional<T> Take() {
    std::lock_guard lock(slot_->mutex);
    return std::exchange(slot_->left, std::nullopt);
  }

  const Make make_;
  const std::shared_ptr<Slot> slot_ = std::make_shared<Slot>();
  std::unique_ptr<HttpExchange> made_;
};

void WriteSlots(const KvReport& kv, JsonWriter& json) {
  const SlotAccount& slots = kv.slots;
  json.Key("total_slots").Int(Number(slots.total())).Key("slots").BeginObject();
  for (size_t i = 0; i < kNumPoolStates; ++i) json.Key(SlotStateName(SlotAccount::At(i))).Int(Number(slots.values[i]));
  json.EndObject();
  json.Key("shared_slots")
      .Int(Number(slots[SlotState::kShared]))
      .Key("swapped_slots")
      .Int(Number(slots[SlotState::kSwapped]));
  json.Key("disk_slots")
      .Int(Number(slots[SlotState::kOnDisk]))
      .Key("waste_pct")
      .Float(static_cast<float>(slots.waste_pct()));
}

void WriteSequence(const KvReport::Sequence& sequence, JsonWriter& json) {
  json.BeginObject().Key("stream").Int(sequence.stream).Key("tokens").Int(sequence.num_tokens);
  json.Key("computed_tokens").Int(sequence.num_computed).Key("shared_blocks").Int(sequence.num_shared_blocks);
  json.Key("blocks").BeginArray();
  for (const BlockId block : sequence.blocks) json.Int(static_cast<int64_t>(block));
  json.EndArray().EndObject();
}

void WriteRequest(const KvReport::Group& group, const std::string& external_id, JsonWriter& json) {
  json.BeginObject().Key("id").String(external_id).Key("state").String(group.state);
  json.Key("prompt_tokens").Int(group.num_prompt_tokens).Key("swapped_blocks").Int(group.num_swapped_blocks);
  json.Key("sequences").BeginArray();
  for (const KvReport::Sequence& sequence : group.sequences) WriteSequence(sequence, json);
  json.EndArray().EndObject();
}

std::string KvReportJson(const EngineKvReport& report) {
  std::string body;
  JsonWriter json(body);
  json.BeginObject().Key("block_size").Int(report.kv.block_size).Key("num_blocks").Int(report.kv.num_blocks);
  json.Key("num_pinned_blocks").Int(report.kv.num_pinned_blocks);
  WriteSlots(report.kv, json);
  json.Key("requests").BeginArray();
  for (size_t i = 0; i < report.kv.groups.size(); ++i) {
    WriteRequest(report.kv.groups[i], report.external_ids[i], json);
  }
  json.EndArray().EndObject();
  return body;
}

}  // namespace

std::unique_ptr<HttpExchange> AnswerKvReport(const Call& call) {
  const auto write = [&workers = call.workers,
                      notify = call.notify](EngineKvReport report) -> std::unique_ptr<HttpExchange> {
    auto task = [report = std::move(report)]() -> std::unique_ptr<HttpExchange> {
      return std::make_unique<KnownAnswer>(HttpReply{.body = KvReportJson(report)});
    };
    return std::make_unique<DeferredExchange>(workers, std::move(task), notify);
  };
  auto exchange = std::make_unique<EngineExchange<EngineKvReport>>(write);
  call.context.model.engine->ReportKv(exchange->Leaver(call.notify));
  return exchange;
}

std::unique_ptr<HttpExchange> AnswerPrefixCacheReset(const Call& call) {
  const auto tell = [](const quire::Status& status) -> std::unique_ptr<HttpExchange> {
    if (status.ok()) return std::make_unique<KnownAnswer>(HttpReply{.content_type = ""});
    return std::make_unique<KnownAnswer>(
        ToReply({.status = 409, .message = status.error().message, .code = "prefix_cache_in_use"}));
  };
  auto exchange = std::make_unique<EngineExchange<quire::Status>>(tell);
  call.context.model.engine->ResetPrefixCache(exchange->Leaver(call.notify));
  return exchange;
}

}  // namespace quire::server
