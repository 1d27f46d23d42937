#include "sched/step_times.h"

#include <algorithm>
#include <cmath>

namespace quire {
namespace {

constexpr double kGain = 0.25;  // how much of what a step says anew is believed

}  // namespace

double StepTimes::RowsOf(size_t knot) {
  if (knot == 0) return 1;
  const double power = std::ldexp(1.0, static_cast<int>((knot + 1) / 2));
  return knot % 2 == 1 ? power : 1.5 * power;
}

size_t StepTimes::Nearest(double num_rows) {
  size_t knot = 0;
  while (knot + 1 < kNumKnots && num_rows * num_rows > RowsOf(knot) * RowsOf(knot + 1)) ++knot;
  return knot;
}

// kNumKnots: none.
size_t StepTimes::NextSeen(size_t knot) const {
  for (++knot; knot < kNumKnots && !knots_[knot].seen;) ++knot;
  return knot;
}

// REQUIRES: knot > lowest_.
size_t StepTimes::LastSeen(size_t knot) const {
  for (--knot; !knots_[knot].seen;) --knot;
  return knot;
}

double StepTimes::At(size_t knot) const {
  constexpr double kLeast = 0.01;  // of the time: a price that is a little too high turns no step into nothing
  return std::max(knots_[knot].us - pair_us_ * knots_[knot].pairs, kLeast * knots_[knot].us);
}

double StepTimes::Below(double num_rows) const {
  const double low = At(lowest_), rows = RowsOf(lowest_);
  const size_t next = NextSeen(lowest_);
  if (next == kNumKnots) return low * num_rows / rows;
  const double slope = (At(next) - low) / (RowsOf(next) - rows);
  return std::clamp(low - slope * (rows - num_rows), low * num_rows / rows, low);
}

// REQUIRES: known().
double StepTimes::At(double num_rows) const {
  if (num_rows < RowsOf(lowest_)) return Below(num_rows);
  size_t left = lowest_, right = NextSeen(left);
  while (right < kNumKnots && RowsOf(right) <= num_rows) {
    left = right;
    right = NextSeen(left);
  }
  if (right == kNumKnots) return At(left) * num_rows / RowsOf(left);
  const double way = (num_rows - RowsOf(left)) / (RowsOf(right) - RowsOf(left));
  return At(left) + way * (At(right) - At(left));
}

double StepTimes::Us(const StepLoad& load) const {
  if (!known() || load.num_rows == 0) return 0;
  return At(static_cast<double>(load.num_rows)) + pair_us_ * static_cast<double>(load.num_pairs);
}

void StepTimes::Observe(const StepLoad& load, int64_t duration_us) {
  if (load.num_rows == 0 || duration_us <= 0) return;
  const double num_rows = load.num_rows;
  const size_t knot = Nearest(num_rows);
  // What a step of the knot's own rows would have shown.
  const double rows = RowsOf(knot);
  const double attention_us = pair_us_ * static_cast<double>(load.num_pairs);
  const double rows_us = std::max(static_cast<double>(duration_us) - attention_us, 0.0);
  const double factor = known() ? At(rows) / At(num_rows) : rows / num_rows;
  See(knot, rows_us * factor + attention_us * rows / num_rows, static_cast<double>(load.num_pairs) * rows / num_rows);
  KeepShape(knot);
}

// So that the curve is within the bounds at the knot.
void StepTimes::Bound(size_t knot, double least_us, double most_us) {
  const double us = At(knot);
  knots_[knot].us += std::clamp(us, least_us, most_us) - us;
}

void StepTimes::See(size_t index, double us, double pairs) {
  constexpr double kMostLate = 0.5;  // of what was expected: steps are late by accident, never early
  Knot& knot = knots_[index];
  if (!knot.seen) {
    knot = {.seen = true, .us = us, .pairs = pairs};
    lowest_ = std::min(lowest_, index);
    // Nothing that was seen gives way to a first sight.
    const size_t next = NextSeen(index);
    if (next < kNumKnots) Bound(index, At(next) * RowsOf(index) / RowsOf(next), At(next));
    if (index == lowest_) return;
    const size_t last = LastSeen(index);
    Bound(index, At(last), At(last) * RowsOf(index) / RowsOf(last));
    return;
  }
  const double expected = At(index) + pair_us_ * pairs;
  us = std::min(us, (1 + kMostLate) * expected);
  LearnPairs(us - knot.us, pairs - knot.pairs, knot.pairs);
  knot.us += kGain * (us - knot.us);
  knot.pairs += kGain * (pairs - knot.pairs);
}

// A regression. Contexts that hardly differ say little: what they say counts for as little.
void StepTimes::LearnPairs(double late_us, double more_pairs, double pairs) {
  constexpr double kKeep = 0.99;
  constexpr double kSpread = 0.1;  // of contexts, relative: from there on it is believed
  late_by_pairs_ = kKeep * late_by_pairs_ + late_us * more_pairs;
  pairs_squared_ = kKeep * pairs_squared_ + more_pairs * more_pairs;
  usual_squared_ = kKeep * usual_squared_ + pairs * pairs;
  const double weight = pairs_squared_ + kSpread * kSpread * usual_squared_;
  pair_us_ = weight > 0 ? std::max(late_by_pairs_ / weight, 0.0) : 0;
}

// The others give way to the knot that was measured last.
void StepTimes::KeepShape(size_t knot) {
  for (size_t from = knot, to = NextSeen(from); to < kNumKnots; from = to, to = NextSeen(from)) {
    Bound(to, At(from), At(from) * RowsOf(to) / RowsOf(from));
  }
  for (size_t from = knot; from > lowest_;) {
    const size_t to = LastSeen(from);
    Bound(to, At(from) * RowsOf(to) / RowsOf(from), At(from));
    from = to;
  }
}

}  // namespace quire
