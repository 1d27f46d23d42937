#include "server/kv_routes.h"

#include <mutex>
#include <optional>
#include <utility>

#include "server/api_error.h"
#include "server/json_writer.h"

namespace quire::server {
namespace {

int64_t Number(uint64_t value) { return static_cast<int64_t>(value); }

// An answer that the engine's thread leaves.
class EngineExchange final : public HttpExchange {
 public:
  const HttpReply* Head() override {
    if (!answer_) {
      std::lock_guard lock(slot_->mutex);
      answer_ = std::move(slot_->answer);
    }
    return answer_ ? &*answer_ : nullptr;
  }
  bool Read(std::string&) override { return true; }

  // Any thread, also when this is gone.
  std::function<void(HttpReply)> Leaver(std::function<void()> notify) const {
    return [weak = std::weak_ptr(slot_), notify = std::move(notify)](HttpReply reply) {
      const std::shared_ptr<Slot> slot = weak.lock();
      if (slot == nullptr) return;
      {
        std::lock_guard lock(slot->mutex);
        slot->answer = std::move(reply);
      }
      notify();
    };
  }

 private:
  struct Slot {
    std::mutex mutex;
    std::optional<HttpReply> answer;
  };

  const std::shared_ptr<Slot> slot_ = std::make_shared<Slot>();
  std::optional<HttpReply> answer_;
};

void WriteSlots(const KvReport& kv, JsonWriter& json) {
  const SlotAccount& slots = kv.slots;
  json.Key("total_slots").Int(Number(slots.total())).Key("slots").BeginObject();
  json.Key("token").Int(Number(slots.token)).Key("reserved").Int(Number(slots.reserved));
  json.Key("internal").Int(Number(slots.internal)).Key("external").Int(Number(slots.external));
  json.Key("cached").Int(Number(slots.cached)).Key("free").Int(Number(slots.free)).EndObject();
  json.Key("shared_slots").Int(Number(slots.shared)).Key("swapped_slots").Int(Number(slots.swapped));
  json.Key("disk_slots").Int(Number(slots.on_disk)).Key("waste_pct").Float(static_cast<float>(slots.waste_pct()));
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

}  // namespace

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

std::unique_ptr<HttpExchange> StartKvReport(Engine& engine, std::function<void()> notify) {
  auto exchange = std::make_unique<EngineExchange>();
  engine.ReportKv([leave = exchange->Leaver(std::move(notify))](const EngineKvReport& report) {
    leave({.body = KvReportJson(report)});
  });
  return exchange;
}

std::unique_ptr<HttpExchange> StartPrefixCacheReset(Engine& engine, std::function<void()> notify) {
  auto exchange = std::make_unique<EngineExchange>();
  engine.ResetPrefixCache([leave = exchange->Leaver(std::move(notify))](const quire::Status& status) {
    if (status.ok()) return leave({.content_type = ""});
    leave(ToReply({.status = 409, .message = status.error().message, .code = "prefix_cache_in_use"}));
  });
  return exchange;
}

}  // namespace quire::server
