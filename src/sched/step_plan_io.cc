#include "sched/step_plan_io.h"

#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "sched/step_fields.h"

namespace quire {
namespace {

static_assert(std::endian::native == std::endian::little);

class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  template <typename T>
  requires(std::is_arithmetic_v<T> || std::is_enum_v<T>) void operator()(const T& value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void operator()(const bool& value) { (*this)(static_cast<uint8_t>(value)); }
  void operator()(const std::string& value) {
    (*this)(static_cast<uint64_t>(value.size()));
    out_.append(value);
  }
  template <typename T>
  void operator()(const std::optional<T>& value) {
    (*this)(value.has_value());
    if (value) (*this)(*value);
  }
  template <typename T>
  void operator()(const std::vector<T>& values) {
    (*this)(static_cast<uint64_t>(values.size()));
    for (const T& value : values) (*this)(value);
  }
  template <typename A, typename B>
  void operator()(const std::pair<A, B>& value) {
    (*this)(value.first);
    (*this)(value.second);
  }
  template <HasFields T>
  void operator()(const T& value);

 private:
  std::string& out_;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  bool failed() const { return failed_; }
  size_t num_left() const { return bytes_.size(); }

  template <typename T>
  requires(std::is_arithmetic_v<T> || std::is_enum_v<T>) void operator()(T& value) {
    if (bytes_.size() < sizeof(value)) return Fail();
    std::memcpy(&value, bytes_.data(), sizeof(value));
    bytes_.remove_prefix(sizeof(value));
  }
  void operator()(bool& value) {
    uint8_t byte = 0;
    (*this)(byte);
    if (byte > 1) return Fail();
    value = byte == 1;
  }
  void operator()(std::string& value) {
    uint64_t size = 0;
    (*this)(size);
    if (size > bytes_.size()) return Fail();
    value.assign(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
  }
  template <typename T>
  void operator()(std::optional<T>& value) {
    bool present = false;
    (*this)(present);
    value.reset();
    if (present) (*this)(value.emplace());
  }
  // Every element takes a byte or more, so that a wild count fails before it allocates much.
  template <typename T>
  void operator()(std::vector<T>& values) {
    uint64_t size = 0;
    (*this)(size);
    values.clear();
    if (size > bytes_.size()) return Fail();
    for (uint64_t i = 0; i < size && !failed_; ++i) (*this)(values.emplace_back());
  }
  template <typename A, typename B>
  void operator()(std::pair<A, B>& value) {
    (*this)(value.first);
    (*this)(value.second);
  }
  template <HasFields T>
  void operator()(T& value);

 private:
  void Fail() {
    failed_ = true;
    bytes_ = {};
  }

  std::string_view bytes_;
  bool failed_ = false;
};

template <HasFields T>
void Writer::operator()(const T& value) {
  ForEachField<T>([&](const char*, auto member) { (*this)(value.*member); });
}

template <HasFields T>
void Reader::operator()(T& value) {
  ForEachField<T>([&](const char*, auto member) { (*this)(value.*member); });
}

template <typename T>
void Append(const T& value, std::string& out) {
  Writer writer(out);
  writer(kStepPlanFormat);
  writer(value);
}

// Enumerators outside their range would be undefined in every switch that follows; so would places outside a list.
Status CheckValues(const StepPlan& plan) {
  for (const Transfer& transfer : plan.transfers) {
    if (transfer.kind > Transfer::Kind::kDrop) return DataLoss("step plan: a transfer of unknown kind");
    if (uint64_t{transfer.first_token} + transfer.num_tokens > plan.transfer_tokens.size()) {
      return DataLoss("step plan: a transfer names tokens {} to {} of {}", transfer.first_token,
                      uint64_t{transfer.first_token} + transfer.num_tokens, plan.transfer_tokens.size());
    }
  }
  for (const Admission& admission : plan.admissions) {
    if (admission.params.early_stopping > EarlyStopping::kNever) {
      return DataLoss("step plan: early stopping of unknown kind");
    }
  }
  for (const RowTask& task : plan.tasks) {
    if (task.kind > RowTask::Kind::kBest) return DataLoss("step plan: a row task of unknown kind");
  }
  return {};
}

Status CheckValues(const StepMasks& masks) {
  for (const uint32_t offset : masks.offsets) {
    if (offset == StepMasks::kAll || size_t{offset} + masks.words_per_mask <= masks.words.size()) continue;
    return DataLoss("step masks: words {} to {} of {}", offset, size_t{offset} + masks.words_per_mask,
                    masks.words.size());
  }
  return {};
}

Status CheckValues(const StepResult& result) {
  for (const TaskResult& task : result.tasks) {
    if (task.status > TaskResult::Status::kNan) return DataLoss("step result: a task of unknown status");
  }
  return {};
}

template <typename T>
Status Parse(std::string_view bytes, T& value, const char* what) {
  Reader reader(bytes);
  uint8_t format = 0;
  reader(format);
  if (reader.failed() || format != kStepPlanFormat) {
    return DataLoss("{}: format {} where {} is known", what, format, kStepPlanFormat);
  }
  reader(value);
  if (reader.failed()) return DataLoss("{}: its {} bytes are truncated or damaged", what, bytes.size());
  if (reader.num_left() > 0) return DataLoss("{}: {} bytes too many", what, reader.num_left());
  return CheckValues(value);
}

}  // namespace

void AppendBytes(const StepPlan& plan, std::string& out) { Append(plan, out); }
void AppendBytes(const StepMasks& masks, std::string& out) { Append(masks, out); }
void AppendBytes(const StepResult& result, std::string& out) { Append(result, out); }
Status ParseBytes(std::string_view bytes, StepPlan& plan) { return Parse(bytes, plan, "step plan"); }
Status ParseBytes(std::string_view bytes, StepMasks& masks) { return Parse(bytes, masks, "step masks"); }
Status ParseBytes(std::string_view bytes, StepResult& result) { return Parse(bytes, result, "step result"); }

}  // namespace quire
