// What prompts and streams wait for each other, on a clock that runs by the rows of the steps: a closed loop of clients
// on machines of different kinds, with chunks that fit measured step times and with chunks that nothing limits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "sched/fake_runner_testing.h"
#include "sched/scheduler.h"
#include "sched/scheduler_testing.h"
#include "sched/step_driver_testing.h"

namespace quire {
namespace {

// A step in microseconds, by rows: reading the weights, and computing, which partly overlap.
double MemoryAndCompute(double read_us, double row_us, double rows) {
  return std::pow(std::pow(read_us, 4) + std::pow(row_us * rows, 4), 0.25);
}

struct Machine {
  std::string name;
  bool stalls;  // where nothing limits the chunks
  std::function<double(double rows)> step_us;
};

const std::vector<Machine>& Machines() {
  static const std::vector<Machine> machines = {
      {"rows cost compute from 8 on", true, [](double rows) { return MemoryAndCompute(125'000, 17'500, rows); }},
      {"every row costs", true, [](double rows) { return 115'000 + 14'000 * rows; }},
      {"rows cost compute from 64 on", true, [](double rows) { return MemoryAndCompute(74'000, 1'100, rows); }},
      {"rows cost compute from 256 on", false, [](double rows) { return MemoryAndCompute(20'000, 80, rows); }},
  };
  return machines;
}

struct Report {
  double tokens_per_s = 0;
  double ttft_mean_s = 0, ttft_p99_s = 0;
  double itl_p50_s = 0, itl_p99_s = 0;
};

double Percentile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  const auto index = static_cast<size_t>(share * static_cast<double>(values.size()));
  return values[std::min(index, values.size() - 1)];
}

// Each client sends one request after another.
class ClosedLoop {
 public:
  ClosedLoop(const Machine& machine, double target_ratio, double noise)
      : scheduler_(Config(target_ratio)), runner_(RunnerOptions(machine, noise)) {}

  Report Serve(uint64_t num_clients, uint64_t num_requests) {
    num_requests_ = num_requests;
    for (uint64_t i = 0; i < 2; ++i) Send();  // the engine wakes up for those who come first
    while (driver_.HasWork()) {
      Step();
      while (next_id_ < num_clients) Send();
    }
    const double mean = std::accumulate(ttft_s_.begin(), ttft_s_.end(), 0.0) / static_cast<double>(ttft_s_.size());
    return {.tokens_per_s = static_cast<double>(ttft_s_.size() + gaps_s_.size()) / now_s_,
            .ttft_mean_s = mean,
            .ttft_p99_s = Percentile(ttft_s_, 0.99),
            .itl_p50_s = Percentile(gaps_s_, 0.5),
            .itl_p99_s = Percentile(gaps_s_, 0.99)};
  }

 private:
  struct Client {
    double sent_s = 0;
    double last_token_s = -1;
  };

  static SchedulerConfig Config(double target_ratio) {
    SchedulerConfig config = TestConfig(1024);
    config.chunk_budget.target_ratio = target_ratio;
    return config;
  }

  FakeRunnerOptions RunnerOptions(const Machine& machine, double noise) {
    return {
        .num_seats = 16, .num_blocks = 1024, .verify = false, .time_us = [this, &machine, noise](const StepLoad& load) {
          const double late = noise * static_cast<double>(lateness_() % 1000) / 1000;
          return static_cast<int64_t>((1 + late) * machine.step_us(load.num_rows));
        }};
  }

  void Send() {
    if (next_id_ == num_requests_) return;
    const uint64_t id = next_id_++;
    const auto num_prompt = static_cast<uint32_t>(100 + lengths_() % 101);
    const auto num_output = static_cast<int32_t>(64 + lengths_() % 65);
    ASSERT_TRUE(scheduler_.Add(TestRequest(id, num_prompt, num_output)).ok());
    clients_[RequestId{id}].sent_s = now_s_;
  }

  void Step() {
    const std::span<const SchedulerEvent> events = driver_.Step();
    now_s_ += 1e-6 * static_cast<double>(driver_.result().forward_us);
    uint32_t num_finished = 0;
    for (const SchedulerEvent& event : events) {
      if (event.kind == SchedulerEvent::Kind::kTokens) Hear(clients_[event.request]);
      if (event.kind == SchedulerEvent::Kind::kFinished) ++num_finished;
    }
    for (uint32_t i = 0; i < num_finished; ++i) Send();
  }

  void Hear(Client& client) {
    if (client.last_token_s < 0) {
      ttft_s_.push_back(now_s_ - client.sent_s);
    } else {
      gaps_s_.push_back(now_s_ - client.last_token_s);
    }
    client.last_token_s = now_s_;
  }

  std::minstd_rand lengths_{7}, lateness_{8};
  Scheduler scheduler_;
  FakeRunner runner_;
  StepDriver driver_{scheduler_, runner_};
  std::map<RequestId, Client> clients_;
  uint64_t num_requests_ = 0;
  uint64_t next_id_ = 0;
  double now_s_ = 0;
  std::vector<double> ttft_s_, gaps_s_;
};

// The clients begin all at once: in a short run that is what counts. In a long one first tokens come later than where
// everybody else waits for them, and the gaps are even: of both one cannot have the better.
TEST(SchedulerPacingTest, AClosedLoopGetsFirstTokensAboutAsSoonAndTheOthersSteadily) {
  for (const Machine& machine : Machines()) {
    for (const double noise : {0.0, 0.15}) {
      for (const uint64_t num_requests : {32, 64, 512}) {
        SCOPED_TRACE(machine.name + ", noise " + std::to_string(noise) + ", requests " + std::to_string(num_requests));
        const double most_mean = num_requests == 32 ? 1.1 : num_requests == 64 ? 1.4 : 1.75;
        const Report unlimited = ClosedLoop(machine, 0, noise).Serve(16, num_requests);
        const Report paced = ClosedLoop(machine, ChunkBudgetOptions{}.target_ratio, noise).Serve(16, num_requests);
        EXPECT_GT(paced.tokens_per_s, 0.97 * unlimited.tokens_per_s);
        EXPECT_LT(paced.ttft_mean_s, most_mean * unlimited.ttft_mean_s);
        EXPECT_LT(paced.ttft_p99_s, 1.05 * unlimited.ttft_p99_s);
        if (num_requests < 512) continue;  // too few gaps for a percentile
        EXPECT_LT(paced.itl_p99_s, 2.5 * paced.itl_p50_s);
        EXPECT_EQ(unlimited.itl_p99_s > 2.5 * unlimited.itl_p50_s, machine.stalls);
      }
    }
  }
}

TEST(SchedulerPacingTest, RecordedResultsLeadToTheSamePlansAgain) {
  SchedulerConfig config = TestConfig(512);
  config.chunk_budget = {};
  std::minstd_rand lateness(9);
  FakeRunner runner({.num_seats = 16, .num_blocks = 512, .time_us = [&](const StepLoad& load) {
                       return static_cast<int64_t>(1000 * load.num_rows + lateness() % 5000);
                     }});
  Scheduler recorded(config), replayed(config);
  StepDriver driver(recorded, runner);
  uint64_t next_id = 0;
  int num_bounded = 0;
  for (int step = 0; step == 0 || driver.HasWork(); ++step) {
    while (next_id < 24 && next_id < 4 + static_cast<uint64_t>(step / 8)) {
      const Request request = TestRequest(next_id++, 150, 40);
      ASSERT_TRUE(recorded.Add(request).ok() && replayed.Add(request).ok());
    }
    driver.Step();
    const StepPlan& plan = driver.plan();
    ASSERT_TRUE(replayed.Plan() == plan) << "step " << step << ": no clock but the results";
    if (plan.num_rows() > 16 && plan.num_rows() < 150) ++num_bounded;
    replayed.Apply(driver.result());
  }
  EXPECT_GT(num_bounded, 20);
}

}  // namespace
}  // namespace quire
