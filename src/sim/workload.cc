#include "sim/workload.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/rng.h"

namespace quire {
namespace {

// Streams of the random key: each is a sequence of its own.
enum Stream : uint32_t { kInput, kOutput, kGap };

struct LogNormal {
  double mu = 0;
  double sigma = 0;
  double longest = 0;  // beyond: drawn again
};

struct Shape {
  LogNormal input, output;
};

constexpr uint32_t kPaperContext = 2048;
constexpr Shape kShareGptShape = {.input = {3.82, 2.03, 2028}, .output = {5.47, 0.92, 2009}};
constexpr Shape kAlpacaShape = {.input = {2.845, 0.48, kPaperContext}, .output = {3.62, 0.95, kPaperContext}};
constexpr uint32_t kMaxAttempts = 10'000;

class Draws {
 public:
  Draws(uint64_t seed, uint32_t request) : seed_(seed), request_(request) {}

  // In (0, 1].
  double Uniform(Stream stream) {
    return 1 - UniformDouble({.seed = seed_, .stream = stream, .position = request_}, next_++);
  }
  // Box and Muller (1958).
  double Normal(Stream stream) {
    const double radius = std::sqrt(-2 * std::log(Uniform(stream)));
    return radius * std::cos(2 * std::numbers::pi * Uniform(stream));
  }
  double Draw(const LogNormal& shape, Stream stream) {
    double value = 0;
    do {
      value = std::exp(shape.mu + shape.sigma * Normal(stream));
    } while (value > shape.longest);
    return value;
  }

 private:
  const uint64_t seed_;
  const uint32_t request_;
  uint32_t next_ = 0;
};

uint32_t Tokens(double length) { return static_cast<uint32_t>(std::max(1.0, std::round(length))); }

struct Lengths {
  double input = 0;
  double output = 0;
};

Lengths DrawLengths(const WorkloadOptions& options, Draws& draws) {
  if (options.kind == WorkloadKind::kUniform) {
    const auto draw = [&](uint32_t mean, Stream stream) {
      return mean * (1 + options.range_ratio * (2 * draws.Uniform(stream) - 1));
    };
    return {.input = draw(options.input_len, kInput), .output = draw(options.output_len, kOutput)};
  }
  const Shape& shape = options.kind == WorkloadKind::kShareGpt ? kShareGptShape : kAlpacaShape;
  Lengths lengths;
  do {
    lengths = {.input = draws.Draw(shape.input, kInput), .output = draws.Draw(shape.output, kOutput)};
  } while (lengths.input + lengths.output >= kPaperContext);
  return lengths;
}

}  // namespace

std::optional<WorkloadKind> ParseWorkload(std::string_view name) {
  if (name == "sharegpt") return WorkloadKind::kShareGpt;
  if (name == "alpaca") return WorkloadKind::kAlpaca;
  if (name == "uniform") return WorkloadKind::kUniform;
  return std::nullopt;
}

Result<std::vector<WorkloadRequest>> MakeWorkload(const WorkloadOptions& options) {
  if (!(options.request_rate > 0)) return InvalidArgument("the request rate must be above 0");
  if (!(options.length_scale > 0)) return InvalidArgument("the length scale must be above 0");
  std::vector<WorkloadRequest> requests(options.num_requests);
  double now = 0;
  for (uint32_t i = 0; i < options.num_requests; ++i) {
    WorkloadRequest& request = requests[i];
    Draws draws(options.seed, i);
    uint32_t attempts = 0;
    do {
      if (++attempts > kMaxAttempts) {
        return InvalidArgument(
            "requests of these lengths do not fit a context of {} tokens: scale them down (--length-scale is {})",
            options.max_total_tokens, options.length_scale);
      }
      const Lengths lengths = DrawLengths(options, draws);
      request.num_prompt_tokens = Tokens(lengths.input * options.length_scale);
      request.num_output_tokens = Tokens(lengths.output * options.length_scale);
    } while (uint64_t{request.num_prompt_tokens} + request.num_output_tokens > options.max_total_tokens);
    Draws gap(options.seed, i);
    if (i > 0 && std::isfinite(options.request_rate)) now -= std::log(gap.Uniform(kGap)) / options.request_rate;
    request.arrival_s = now;
  }
  return requests;
}

}  // namespace quire
