// Attention in double precision, and how far float32 may be from it.
#pragma once

#include <algorithm>

#include "testing.h"

namespace testing {
namespace {

struct Exact {
  double value, tolerance;
};

// softmax(q k scale + bias) v of one head; key(p) and value(p) say where a position's lie, bias(p) what its score gets. In bfloat16
// these are rounded, and so may each weight be.
template <class Key, class Value, class Bias>
std::vector<Exact> attend(const float* query, int64_t size, int64_t n, double scale, Key key, Value value, Bias bias, bool bfloat16 = false) {
  const auto read = [&](float number) {
    const double rounded = bfloat16 ? to_bfloat16(static_cast<double>(number)) : static_cast<double>(number);
    return bfloat16 && std::fabs(rounded) < 0x1p-126 ? 0 : rounded;  // which instructions count as 0
  };
  const double of_weight = bfloat16 ? 0x1.01p-8 : 0, of_product = bfloat16 ? 0x1p-126 : 0;
  std::vector<double> scores(static_cast<size_t>(n)), errors(scores.size());
  double largest = -INFINITY, total = 0, error = 0;
  for (int64_t p = 0; p < n; ++p) {
    double score = 0, sizes = 0;
    for (int64_t d = 0; d < size; ++d) {
      const double product = read(query[d]) * read(key(p)[d]);
      score += product;
      sizes += std::fabs(product) + of_product;
    }
    score = score * scale + static_cast<double>(bias(p));
    scores[static_cast<size_t>(p)] = score;
    errors[static_cast<size_t>(p)] = static_cast<double>(size + 2) * kUnit * sizes * std::fabs(scale) + 2 * kUnit * std::fabs(score);
    largest = std::isnan(score) ? NAN : std::max(largest, score);
  }
  for (size_t p = 0; p < scores.size(); ++p) {
    const double below = scores[p] - largest;
    errors[p] += (2 * std::fabs(below) + 8) * kUnit;  // of the difference, its exponential and the product with 1 / total
    scores[p] = std::exp(below);
    total += scores[p];
  }
  for (size_t p = 0; p < scores.size(); ++p) {
    scores[p] /= total;
    if (scores[p] > 0) error += errors[p] * scores[p];
  }
  std::vector<Exact> mixed(static_cast<size_t>(size));
  for (int64_t d = 0; d < size; ++d) {
    Exact& out = mixed[static_cast<size_t>(d)];
    out = {0, 4 * kLeast};
    for (int64_t p = 0; p < n; ++p) {
      const double weight = scores[static_cast<size_t>(p)], at = read(value(p)[d]);
      out.value += weight * at;
      if (weight > 0)
        out.tolerance += weight * std::fabs(at) * (errors[static_cast<size_t>(p)] + error + static_cast<double>(n + 4) * kUnit + of_weight);
      out.tolerance += 2e-38 * std::fabs(at) + kLeast + of_product;  // exponentials are held at exp(-87)
    }
  }
  return mixed;
}

inline void check(const float* found, const std::vector<Exact>& exact) {
  for (size_t d = 0; d < exact.size(); ++d)
    expect(near(found[d], exact[d].value, exact[d].tolerance), "[%zu] is %.9g, not %.9g +- %.2g", d, found[d],
           exact[d].value, exact[d].tolerance);
}

// Numbers of one of several sizes; some tensors have an infinity or a NaN.
inline void fill(Random& random, Buffer<float>& into) {
  const float sizes[] = {1, 1, 1, 0, 1e-41f, 30};
  const float size = sizes[random.whole(0, 5)];
  for (float& each : into) each = random.normal() * size;
  if (into.size() > 0 && random.chance(0.05)) into[random.whole(0, into.size() - 1)] = random.chance(0.5) ? -INFINITY : NAN;
}

inline float no_bias(int64_t) { return 0; }

// A length of each input: none, one position, all of them, or any.
inline void fill_lengths(Random& random, Buffer<int64_t>& lengths, int64_t positions) {
  for (int64_t& each : lengths) {
    const int64_t some[] = {0, std::min<int64_t>(1, positions), positions, random.whole(0, positions)};
    each = some[random.whole(0, 3)];
  }
}

}  // namespace
}  // namespace testing
