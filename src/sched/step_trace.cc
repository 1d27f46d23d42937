#include "sched/step_trace.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/env.h"
#include "base/error.h"
#include "sched/step_plan_io.h"

namespace quire {
namespace {

constexpr std::string_view kMagic = "QUIRETRC";
constexpr char kPlanRecord = 1;
constexpr char kResultRecord = 2;
constexpr size_t kHeaderBytes = 1 + sizeof(uint64_t);

}  // namespace

Result<TraceWriter> TraceWriter::Create(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return Io("trace {}: {}", path, std::strerror(errno));
  TraceWriter writer(path, file);
  const std::string head = std::string(kMagic) + static_cast<char>(kStepPlanFormat);
  if (std::fwrite(head.data(), 1, head.size(), file) != head.size()) {
    return Io("trace {}: {}", path, std::strerror(errno));
  }
  return writer;
}

template <typename T>
Status TraceWriter::WriteRecord(char kind, const T& value) {
  buffer_.assign(kHeaderBytes, kind);
  AppendBytes(value, buffer_);
  const uint64_t size = buffer_.size() - kHeaderBytes;
  std::memcpy(buffer_.data() + 1, &size, sizeof(size));
  if (std::fwrite(buffer_.data(), 1, buffer_.size(), file_.get()) == buffer_.size()) return {};
  return Io("trace {}: {}", path_, std::strerror(errno));
}

Status TraceWriter::Write(const StepPlan& plan) { return WriteRecord(kPlanRecord, plan); }
Status TraceWriter::Write(const StepResult& result) { return WriteRecord(kResultRecord, result); }

Status TraceWriter::Flush() {
  if (std::fflush(file_.get()) == 0) return {};
  return Io("trace {}: {}", path_, std::strerror(errno));
}

Result<TraceReader> TraceReader::Open(const std::string& path) {
  Result<std::string> bytes = Env::Posix().ReadFile(path);
  if (!bytes.ok()) return std::move(bytes).error();
  if (!bytes->starts_with(kMagic)) return DataLoss("{} is not a trace", path);
  const int version = bytes->size() > kMagic.size() ? static_cast<unsigned char>((*bytes)[kMagic.size()]) : 0;
  if (version != kStepPlanFormat) {
    return DataLoss("trace {}: it is of version {}, and this Quire reads version {}: record it again", path, version,
                    kStepPlanFormat);
  }
  TraceReader reader(path, *std::move(bytes));
  reader.position_ = kMagic.size() + 1;
  return reader;
}

Result<TraceReader::Kind> TraceReader::Next(StepPlan& plan, StepResult& result) {
  const std::string_view left = std::string_view(bytes_).substr(position_);
  if (left.empty()) return Kind::kEnd;
  uint64_t size = 0;
  if (left.size() >= kHeaderBytes) std::memcpy(&size, left.data() + 1, sizeof(size));
  if (left.size() < kHeaderBytes || size > left.size() - kHeaderBytes) {
    return DataLoss("trace {}: the record at byte {} is cut short", path_, position_);
  }
  const std::string_view bytes = left.substr(kHeaderBytes, size);
  position_ += kHeaderBytes + size;
  switch (left.front()) {
    case kPlanRecord:
      QUIRE_RETURN_IF_ERROR(ParseBytes(bytes, plan));
      return Kind::kPlan;
    case kResultRecord:
      QUIRE_RETURN_IF_ERROR(ParseBytes(bytes, result));
      return Kind::kResult;
    default:
      return DataLoss("trace {}: a record of unknown kind {}", path_, static_cast<int>(left.front()));
  }
}

}  // namespace quire
