#include "sched/step_plan_io.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "sched/fake_runner_testing.h"
#include "sched/scheduler_testing.h"
#include "sched/step_fields.h"
#include "sched/step_printing_testing.h"
#include "sched/step_trace.h"

namespace quire {
namespace {

// Values of the protocol's types with every field set, each list with a few elements.
class RandomValue {
 public:
  explicit RandomValue(unsigned seed) : random_(seed) {}

  template <typename T>
  void operator()(T& value) {
    if constexpr (HasFields<T>) {
      ForEachField<T>([&](const char*, auto member) { (*this)(value.*member); });
    } else if constexpr (std::is_same_v<T, bool>) {
      value = random_() % 2 == 0;
    } else if constexpr (std::is_enum_v<T>) {
      // Of the enumerations the two first values are known to all; ids are any number.
      value = static_cast<T>(random_() % 2);
    } else if constexpr (std::is_arithmetic_v<T>) {
      value = static_cast<T>(random_() % 100);
    } else if constexpr (std::is_same_v<T, std::string>) {
      value.assign(1 + random_() % 5, static_cast<char>('a' + random_() % 26));
    } else {
      Compound(value);
    }
  }

 private:
  template <typename T>
  void Compound(std::optional<T>& value) {
    (*this)(value.emplace());
  }
  template <typename A, typename B>
  void Compound(std::pair<A, B>& value) {
    (*this)(value.first);
    (*this)(value.second);
  }
  template <typename T>
  void Compound(std::vector<T>& values) {
    values.resize(1 + random_() % 3);
    for (T& value : values) (*this)(value);
  }

  std::minstd_rand random_;
};

StepPlan FullPlan(unsigned seed = 1) {
  StepPlan plan;
  RandomValue{seed}(plan);
  for (Transfer& transfer : plan.transfers) transfer.first_token = transfer.num_tokens = 0;  // of those that there are
  return plan;
}

StepResult FullResult(unsigned seed = 1) {
  StepResult result;
  RandomValue{seed}(result);
  return result;
}

StepMasks FullMasks(unsigned seed = 1) {
  StepMasks masks;
  RandomValue{seed}(masks);
  masks.words_per_mask = static_cast<uint32_t>(masks.words.size());
  masks.offsets = {0, StepMasks::kAll};
  return masks;
}

template <typename T>
void ExpectRoundTripAndNoCrash(const T& value) {
  std::string bytes;
  AppendBytes(value, bytes);
  T parsed;
  ASSERT_TRUE(ParseBytes(bytes, parsed).ok());
  EXPECT_EQ(parsed, value);
  ASSERT_TRUE(ParseBytes(bytes, parsed).ok()) << "into a value that was used before";
  EXPECT_EQ(parsed, value);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(ParseBytes(std::string_view(bytes).substr(0, size), parsed).ok()) << "cut to " << size;
  }
  EXPECT_FALSE(ParseBytes(bytes + "x", parsed).ok());
  std::mt19937 random(5);
  for (int i = 0; i < 20'000; ++i) {  // damaged bytes are read as something else or refused
    std::string damaged = bytes;
    for (int k = 0; k < 3; ++k) damaged[random() % damaged.size()] = static_cast<char>(random());
    (void)ParseBytes(damaged, parsed).ok();
  }
}

TEST(StepPlanIoTest, APlanSurvivesAndEveryTruncationIsAnError) {
  for (unsigned seed = 1; seed < 4; ++seed) ExpectRoundTripAndNoCrash(FullPlan(seed));
}

TEST(StepPlanIoTest, AResultSurvivesAndEveryTruncationIsAnError) {
  for (unsigned seed = 1; seed < 4; ++seed) ExpectRoundTripAndNoCrash(FullResult(seed));
}

TEST(StepPlanIoTest, MasksSurviveAndNoneLiesOutsideTheWords) {
  for (unsigned seed = 1; seed < 4; ++seed) ExpectRoundTripAndNoCrash(FullMasks(seed));
  StepMasks masks = FullMasks();
  masks.offsets.push_back(1);
  std::string bytes;
  AppendBytes(masks, bytes);
  EXPECT_THAT(ParseBytes(bytes, masks).error().message, testing::HasSubstr("step masks: words 1 to"));
}

TEST(StepPlanIoTest, WhereValuesDifferTheirFieldsAreShown) {
  StepPlan plan;
  plan.step = 7;
  plan.admissions.push_back({.stream = 3, .params = {.top_k = 5}, .history = {1, 2}});
  EXPECT_EQ(testing::PrintToString(plan),
            "{ .step = 7 .admissions = [{ .stream = 3 .params = { .top_k = 5 } .history = [1,2,] },] }");
}

TEST(StepPlanIoTest, AnotherFormatIsRefusedByNumber) {
  std::string bytes;
  AppendBytes(FullPlan(), bytes);
  bytes[0] = 99;
  StepPlan plan;
  const Status parsed = ParseBytes(bytes, plan);
  ASSERT_FALSE(parsed.ok());
  EXPECT_THAT(parsed.error().message, testing::HasSubstr("format 99"));
}

// One field at a time is changed, however deep it lies.
template <typename Whole, typename T>
void ChangeEach(const Whole& whole, Whole& changed, T& value, unsigned& num_changes) {
  if constexpr (HasFields<T>) {
    ForEachField<T>([&](const char*, auto member) { ChangeEach(whole, changed, value.*member, num_changes); });
  } else if constexpr (requires { value.push_back(value[0]); }) {
    if constexpr (HasFields<typename T::value_type>) {
      for (auto& element : value) ChangeEach(whole, changed, element, num_changes);
    }
    value.push_back(value[0]);
    EXPECT_FALSE(changed == whole);
    value.pop_back();
    ++num_changes;
  } else if constexpr (requires { value.reset(); }) {
    const T before = value;
    value.reset();
    EXPECT_FALSE(changed == whole);
    value = before;
    ++num_changes;
  } else {
    const T before = value;
    value = static_cast<T>(static_cast<int64_t>(before) == 0);
    EXPECT_FALSE(changed == whole);
    value = before;
    ++num_changes;
  }
}

TEST(StepPlanIoTest, EqualityLooksAtEveryPart) {
  unsigned num_changes = 0;
  StepPlan plan = FullPlan();
  ChangeEach(FullPlan(), plan, plan, num_changes);
  StepResult result = FullResult();
  ChangeEach(FullResult(), result, result, num_changes);
  StepMasks masks = FullMasks();
  ChangeEach(FullMasks(), masks, masks, num_changes);
  EXPECT_GT(num_changes, 80U);
  EXPECT_EQ(plan, FullPlan());
}

TEST(StepPlanIoTest, ClearLeavesAnEmptyPlan) {
  StepPlan plan = FullPlan();
  plan.Clear();
  EXPECT_EQ(plan, StepPlan{});
  EXPECT_TRUE(plan.empty());
  StepResult result = FullResult();
  result.Clear();
  EXPECT_EQ(result, StepResult{});
}

class StepTraceTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }

  // A run in a tiny pool, so that the trace holds preemptions.
  void WriteTrace() {
    auto writer = TraceWriter::Create(path_);
    ASSERT_TRUE(writer.ok()) << writer.error().message;
    SchedulerHarness h(TestConfig(10));
    for (uint64_t id = 1; id <= 4; ++id) h.Add(TestRequest(id, 60, 40));
    while (h.driver.HasWork()) {
      h.Step();
      ASSERT_TRUE(writer->Write(h.driver.plan()).ok());
      ASSERT_TRUE(writer->Write(h.driver.result()).ok());
    }
    ASSERT_GT(h.scheduler.Stats().num_preemptions(), 0U);
    ASSERT_TRUE(writer->Flush().ok());
  }

  const std::string path_ = (std::filesystem::temp_directory_path() /
                             ("quire_trace_" + std::to_string(testing::UnitTest::GetInstance()->random_seed()) + "_" +
                              std::to_string(reinterpret_cast<uintptr_t>(this))))
                                .string();
};

TEST_F(StepTraceTest, ReplayingTheFileOfARunComputesTheSameResults) {
  WriteTrace();
  auto reader = TraceReader::Open(path_);
  ASSERT_TRUE(reader.ok());
  FakeRunner runner({.num_seats = 16, .num_blocks = 10});
  StepPlan plan;
  StepResult recorded, replayed;
  int num_steps = 0;
  for (;;) {
    const auto kind = reader->Next(plan, recorded);
    ASSERT_TRUE(kind.ok()) << kind.error().message;
    if (*kind == TraceReader::Kind::kEnd) break;
    if (*kind == TraceReader::Kind::kPlan) {
      ASSERT_TRUE(runner.Run(plan, replayed).ok());
    } else {
      EXPECT_EQ(replayed, recorded);
      ++num_steps;
    }
  }
  EXPECT_GT(num_steps, 40);
}

TEST_F(StepTraceTest, ATruncatedFileIsAnErrorThatNamesIt) {
  WriteTrace();
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 3);
  auto reader = TraceReader::Open(path_);
  ASSERT_TRUE(reader.ok());
  StepPlan plan;
  StepResult result;
  Result<TraceReader::Kind> kind = TraceReader::Kind::kPlan;
  while (kind.ok() && *kind != TraceReader::Kind::kEnd) kind = reader->Next(plan, result);
  ASSERT_FALSE(kind.ok());
  EXPECT_THAT(kind.error().message, testing::HasSubstr(path_));
}

TEST_F(StepTraceTest, ATraceOfAnOlderVersionIsRefusedByName) {
  for (const std::string& rest : {std::string(), std::string(1, '\1') + std::string(8, '\0')}) {
    std::ofstream(path_, std::ios::trunc) << "QUIRETRC" << rest;
    const auto reader = TraceReader::Open(path_);
    ASSERT_FALSE(reader.ok());
    EXPECT_THAT(reader.error().message, testing::HasSubstr(path_));
    EXPECT_THAT(reader.error().message, testing::HasSubstr("version"));
  }
}

TEST_F(StepTraceTest, AFileThatIsNoTraceAndAFileThatIsNotThereAreErrors) {
  std::ofstream(path_) << "hello";
  EXPECT_FALSE(TraceReader::Open(path_).ok());
  EXPECT_FALSE(TraceReader::Open(path_ + ".absent").ok());
  EXPECT_FALSE(TraceWriter::Create("/nonexistent/trace").ok());
}

}  // namespace
}  // namespace quire
