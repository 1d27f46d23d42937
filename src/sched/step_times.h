// StepTimes: how long a step takes, as a function of its rows and of the context that they attend to, learnt from the
// steps that were measured. A pure function of what was observed; no clock.
//
// The model: a curve over rows, kept at knots half a power of two apart, plus a price per pair of a row and a key.
// Between knots that have been seen the curve is straight. Above the highest one time grows with the rows, below the
// lowest along the slope of the lowest two: guesses that hold until the step is measured, and that err towards small
// steps, so that whoever chooses steps by them grows them by a factor at a time. The curve has the shape that every
// machine has: more rows never take less time (weights are read once whatever the rows), and a row never costs more
// for having company; so one step that was late for another reason cannot bend it far.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace quire {

// What a step computes. A row at position p attends to p + 1 keys.
struct StepLoad {
  uint32_t num_rows = 0;
  uint64_t num_pairs = 0;  // of a row and a key

  // num_rows more, of one sequence, at positions from first_position on.
  void Add(uint32_t rows, uint32_t first_position) {
    num_rows += rows;
    num_pairs += uint64_t{rows} * first_position + uint64_t{rows} * (rows + 1) / 2;
  }
};

class StepTimes {
 public:
  bool known() const { return lowest_ < kNumKnots; }
  // 0: not known.
  double Us(const StepLoad& load) const;
  double pair_us() const { return pair_us_; }

  // A duration of 0 says that nothing is being timed.
  void Observe(const StepLoad& load, int64_t duration_us);

 private:
  static constexpr size_t kNumKnots = 42;  // 1, 2, 3, 4, 6, 8, 12, 16, ... 2^21
  // Steps of the knot's rows: their time, and what they attended to.
  struct Knot {
    bool seen = false;
    double us = 0;
    double pairs = 0;
  };

  static double RowsOf(size_t knot);
  static size_t Nearest(double num_rows);
  size_t NextSeen(size_t knot) const;
  size_t LastSeen(size_t knot) const;
  // The curve: without what attention costs.
  double At(size_t knot) const;
  double At(double num_rows) const;
  double Below(double num_rows) const;
  void Bound(size_t knot, double least_us, double most_us);
  void See(size_t knot, double us, double pairs);
  void LearnPairs(double late_us, double more_pairs, double pairs);
  void KeepShape(size_t knot);

  std::array<Knot, kNumKnots> knots_ = {};
  size_t lowest_ = kNumKnots;  // of the knots that have been seen
  double pair_us_ = 0;
  // Exponentially weighted, over steps: what was late or early by how many pairs were more or fewer than usual, the
  // latter's square, and the square of what is usual.
  double late_by_pairs_ = 0;
  double pairs_squared_ = 0;
  double usual_squared_ = 0;
};

}  // namespace quire
