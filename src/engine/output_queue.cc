#include "engine/output_queue.h"

#include <iterator>
#include <utility>

namespace quire {
namespace {

template <typename T>
void AppendMoved(std::vector<T>& to, std::vector<T>&& from) {
  if (to.empty()) {
    to = std::move(from);
  } else {
    to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  }
}

}  // namespace

void MergeDelta(OutputDelta& delta, OutputDelta&& next) {
  delta.choice = next.choice;
  delta.text += next.text;
  AppendMoved(delta.token_ids, std::move(next.token_ids));
  AppendMoved(delta.logprobs, std::move(next.logprobs));
  delta.prompt_logprobs = std::move(next.prompt_logprobs);
  delta.finish_reason = next.finish_reason;
  delta.stop_string = std::move(next.stop_string);
  delta.stop_token_id = next.stop_token_id;
  delta.score = next.score;
  delta.error = std::move(next.error);
  delta.num_prompt_tokens = next.num_prompt_tokens;
  delta.num_cached_tokens = next.num_cached_tokens;
  delta.num_output_tokens = next.num_output_tokens;
}

void OutputQueue::Push(OutputDelta&& delta) {
  std::shared_ptr<const std::function<void()>> notify;
  {
    std::lock_guard lock(mutex_);
    if (delta.finished()) --num_unfinished_;
    std::optional<OutputDelta>& pending = pending_.at(delta.choice);
    if (pending) {
      MergeDelta(*pending, std::move(delta));
    } else {
      if (ready_.empty()) notify = notify_;
      ready_.push_back(delta.choice);
      pending = std::move(delta);
    }
  }
  ready_changed_.notify_all();
  if (notify && *notify) (*notify)();
}

std::optional<OutputDelta> OutputQueue::TakeLocked() {
  if (ready_.empty()) return std::nullopt;
  std::optional<OutputDelta> taken = std::exchange(pending_[ready_.front()], std::nullopt);
  ready_.erase(ready_.begin());
  return taken;
}

std::optional<OutputDelta> OutputQueue::TryNext() {
  std::lock_guard lock(mutex_);
  return TakeLocked();
}

std::optional<OutputDelta> OutputQueue::Wait(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  ready_changed_.wait_for(lock, timeout, [&] { return !ready_.empty(); });
  return TakeLocked();
}

void OutputQueue::SetNotify(std::function<void()> notify) {
  std::shared_ptr<const std::function<void()>> call_now;
  {
    std::lock_guard lock(mutex_);
    notify_ = std::make_shared<const std::function<void()>>(std::move(notify));
    if (!ready_.empty()) call_now = notify_;
  }
  if (call_now && *call_now) (*call_now)();
}

bool OutputQueue::finished() const {
  std::lock_guard lock(mutex_);
  return num_unfinished_ == 0;
}

}  // namespace quire
