// The algorithm of top_candidates, over the vectors of one instruction set.
//
// A row is read from memory once, in blocks that stay in the nearest cache while they are looked at three times: for
// their largest element, for the sum of their exponentials, and, only if they hold something that beats the worst
// candidate so far, for candidates. The sum is kept relative to the largest element so far and rescaled when that grows
// (Milakov and Gimelshein, Online normalizer calculation for softmax, 2018).
//
// To be included by one file an instruction set. All is in an unnamed namespace and nothing inline of the standard
// library is called: the linker keeps one copy of an inline function, and it might keep the one made of instructions
// that this CPU lacks.
#pragma once

#include <math.h>
#include <stdint.h>

namespace fuseline {
namespace {

// `Simd` is an instruction set's vocabulary:
//   Vector, kLanes               a vector of float32, and how many (at most 32)
//   load(p), load_first(p, n)    all lanes; the first n, the rest -inf, with nothing read beyond them
//   splat(x), add(a, b), subtract(a, b)
//   larger(a, b)                 the larger, lane by lane; b where a is NaN
//   exp(x)                       for x <= 0; where x is NaN or below kLeastExponent: some number below 2e-38
//   above(a, b)                  bit i: a > b in lane i; NaN is above nothing
//   largest(a), sum(a)           over the lanes

// exp(kLeastExponent) is just a normal float32, and nothing beside the exp(0) that every sum holds.
constexpr float kLeastExponent = -87.0f;
// 2 kB of logits. Each of the four partial sums of a block takes at most 128 / kLanes terms before it goes into a
// float64, which keeps the sum's error near 1e-6 whatever the length of the row.
constexpr int64_t kBlock = 512;

// exp(r) for |r| <= ln(2) / 2 by its Taylor series: the first term left out, r^7 / 5040, is below 1.2e-7.
constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;
constexpr float kExp2 = 1 / 2.0f, kExp3 = 1 / 6.0f, kExp4 = 1 / 24.0f, kExp5 = 1 / 120.0f, kExp6 = 1 / 720.0f;

inline bool finite(float x) { return x - x == 0; }

// The best of one row so far: sorted, largest first, of equals the lower index first.
struct Candidates {
  float* values;
  int64_t* indices;
  int64_t k;
  int64_t count = 0;

  // What an element must be above to get in.
  float bar() const { return values[k - 1]; }

  // To be called with rising index, and once full only for what is above the bar.
  void insert(float value, int64_t index) {
    int64_t place = count < k ? count++ : k - 1;
    for (; place > 0 && values[place - 1] < value; --place) {
      values[place] = values[place - 1];
      indices[place] = indices[place - 1];
    }
    values[place] = value;
    indices[place] = index;
  }
};

// The n elements from p on as vectors; what is missing in the last is -inf.
template <class Simd, class Visit>
inline void each_vector(const float* p, int64_t n, Visit visit) {
  int64_t i = 0;
  for (; i + Simd::kLanes <= n; i += Simd::kLanes) visit(i, Simd::load(p + i));
  if (i < n) visit(i, Simd::load_first(p + i, static_cast<int>(n - i)));
}

// -inf for nothing but NaN.
template <class Simd>
inline float block_largest(const float* p, int64_t n) {
  auto found = Simd::splat(-INFINITY);
  each_vector<Simd>(p, n, [&](int64_t, auto x) { found = Simd::larger(x, found); });
  return Simd::largest(found);
}

// The sum of exp(x - shift); shift is finite and not below any x.
template <class Simd>
inline double block_sum(const float* p, int64_t n, float shift) {
  const auto shifts = Simd::splat(shift);
  auto a = Simd::splat(0), b = a, c = a, d = a;
  int64_t i = 0;
  constexpr int64_t step = 4 * Simd::kLanes;
  for (; i + step <= n; i += step) {
    a = Simd::add(a, Simd::exp(Simd::subtract(Simd::load(p + i), shifts)));
    b = Simd::add(b, Simd::exp(Simd::subtract(Simd::load(p + i + Simd::kLanes), shifts)));
    c = Simd::add(c, Simd::exp(Simd::subtract(Simd::load(p + i + 2 * Simd::kLanes), shifts)));
    d = Simd::add(d, Simd::exp(Simd::subtract(Simd::load(p + i + 3 * Simd::kLanes), shifts)));
  }
  each_vector<Simd>(p + i, n - i, [&](int64_t, auto x) { a = Simd::add(a, Simd::exp(Simd::subtract(x, shifts))); });
  return static_cast<double>(Simd::sum(Simd::add(Simd::add(a, b), Simd::add(c, d))));
}

// Offers the elements [begin, end) of a row to candidates that are full.
template <class Simd>
inline void block_candidates(const float* row, int64_t begin, int64_t end, Candidates& best) {
  each_vector<Simd>(row + begin, end - begin, [&](int64_t i, auto x) {
    uint32_t above = Simd::above(x, Simd::splat(best.bar()));
    for (; above != 0; above &= above - 1) {
      const int64_t index = begin + i + __builtin_ctz(above);
      if (row[index] > best.bar()) best.insert(row[index], index);
    }
  });
}

template <class Simd>
inline void one_row(const float* row, int64_t vocab, Candidates best, float* logsumexp) {
  for (int64_t i = 0; i < best.k; ++i) best.insert(row[i] != row[i] ? -INFINITY : row[i], i);
  float largest = -INFINITY;
  double sum = 0;  // of exp(x - largest)
  for (int64_t begin = 0; begin < vocab; begin += kBlock) {
    const int64_t end = begin + kBlock < vocab ? begin + kBlock : vocab;
    const float here = block_largest<Simd>(row + begin, end - begin);
    if (here > largest) {
      // Both infinite gives NaN, which is not used: the result is infinite then.
      sum *= exp(static_cast<double>(largest) - here);
      largest = here;
    }
    if (finite(largest)) sum += block_sum<Simd>(row + begin, end - begin, largest);
    if (here > best.bar() && end > best.k) block_candidates<Simd>(row, begin > best.k ? begin : best.k, end, best);
  }
  *logsumexp = finite(largest) ? static_cast<float>(largest + log(sum)) : largest;
}

template <class Simd>
inline void all_rows(const float* logits, int64_t rows, int64_t vocab, int64_t row_stride, int64_t k, float* values,
                     int64_t* indices, float* logsumexp) {
  for (int64_t r = 0; r < rows; ++r)
    one_row<Simd>(logits + r * row_stride, vocab, Candidates{values + r * k, indices + r * k, k}, logsumexp + r);
}

}  // namespace
}  // namespace fuseline
