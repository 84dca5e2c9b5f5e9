// The algorithms of norms. Of a layer norm the mean first and then the mean square of what is left, so that a large mean costs no digits.
#pragma once

#include "layer_norm.h"
#include "vectors.h"

namespace fuseline {
namespace {

// The sum of one(i, n) over the vectors of a row: of its elements from i on, n at most of them. Four at once, since an addition
// waits for the one before it.
template <class One>
inline float row_sum(int64_t width, const One& one) {
  Vector totals[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= width; i += 4 * kLanes)
    repeat<4>([&](int k) { totals[k] += one(i + k * kLanes, kLanes); });
  for (; i < width; i += kLanes) totals[0] += one(i, width - i);
  return sum((totals[0] + totals[1]) + (totals[2] + totals[3]));
}

inline void layer_norm(const fuseline_layer_norm& l, int64_t first, int64_t last) {
  const float share = 1.0f / static_cast<float>(l.width);
  for (int64_t r = first; r < last; ++r) {
    const float* x = l.x + r * l.width;
    float* y = l.y + r * l.width;
    const float mean = row_sum(l.width, [&](int64_t i, int64_t n) { return load(x + i, n); }) * share;
    const float square = row_sum(l.width, [&](int64_t i, int64_t n) {
      const Vector away = load(x + i, n) - mean;
      return n < kLanes ? first_of(away * away, n) : away * away;
    });
    const float factor = 1.0f / __builtin_sqrtf(square * share + l.epsilon);
    for (int64_t i = 0; i < l.width; i += kLanes) {
      const int64_t n = l.width - i;
      const Vector scaled = (load(x + i, n) - mean) * factor;
      store(y + i, fused(scaled, load(l.scale + i, n), load(l.bias + i, n)), n);
    }
  }
}

inline void rms_norm(const fuseline_rms_norm& l, int64_t first, int64_t last) {
  const float share = 1.0f / static_cast<float>(l.width);
  for (int64_t r = first; r < last; ++r) {
    const float* x = l.x + r * l.width;
    float* y = l.y + r * l.width;
    const float square = row_sum(l.width, [&](int64_t i, int64_t n) {
      const Vector v = load(x + i, n);
      return v * v;
    });
    const float factor = 1.0f / __builtin_sqrtf(square * share + l.epsilon);
    for (int64_t i = 0; i < l.width; i += kLanes) {
      const int64_t n = l.width - i;
      store(y + i, load(x + i, n) * factor * load(l.scale + i, n), n);
    }
  }
}

}  // namespace
}  // namespace fuseline
