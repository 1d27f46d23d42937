// A trace: the file of a run's plans and results, in order. A runner that is given the plans computes the results
// again.
//   "QUIRETRC", u8 version (that of the step plans), then records {u8 kind, u64 size, bytes}; kind 1 is a plan, 2 the
//   result of the plan before.
// One thread at a time.
#pragma once

#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "quire/result.h"
#include "sched/step_plan.h"

namespace quire {

class TraceWriter {
 public:
  static Result<TraceWriter> Create(const std::string& path);

  Status Write(const StepPlan& plan);
  Status Write(const StepResult& result);
  // To the file system, so that a process that dies later leaves a readable file.
  Status Flush();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  TraceWriter(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}
  template <typename T>
  Status WriteRecord(char kind, const T& value);

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::string buffer_;
};

class TraceReader {
 public:
  enum class Kind { kEnd, kPlan, kResult };

  static Result<TraceReader> Open(const std::string& path);

  // Reads the next record into the one of the two that it is for. A record that is cut short is an error.
  Result<Kind> Next(StepPlan& plan, StepResult& result);

 private:
  TraceReader(std::string path, std::string bytes) : path_(std::move(path)), bytes_(std::move(bytes)) {}

  std::string path_;
  std::string bytes_;
  size_t position_ = 0;
};

}  // namespace quire
