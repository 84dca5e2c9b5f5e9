// The algorithm of attention: softmax(q k * scale) v for one query and one head (Vaswani et al., arXiv:1706.03762).
// Written once over the compiler's vectors; one file an instruction set includes it.
#pragma once

#include "attention.h"
#include "vectors.h"

namespace fuseline {
namespace {

inline float dot(const float* a, const float* b, int64_t n) {
  Vector total{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) total += load(a + i) * load(b + i);
  if (i < n) total += load(a + i, n - i) * load(b + i, n - i);
  return sum(total);
}

inline void softmax(float* scores, int64_t n) {
  float largest = scores[0];
  for (int64_t i = 1; i < n; ++i) largest = scores[i] > largest ? scores[i] : largest;
  Vector totals{};
  for (int64_t i = 0; i < n; i += kLanes) {
    store(scores + i, exponential(load(scores + i, n - i) - largest), n - i);
    totals += load(scores + i, n - i);
  }
  const float inverse = 1.0f / sum(totals);
  for (int64_t i = 0; i < n; i += kLanes) store(scores + i, load(scores + i, n - i) * inverse, n - i);
}

// One query of one head over n positions; key(p) and value(p) say where a position's lie.
template <class Key, class Value>
inline void attend(const float* query, int64_t size, int64_t n, float scale, float* scores, float* mixed, Key key,
                   Value value) {
  for (int64_t p = 0; p < n; ++p) scores[p] = dot(query, key(p), size) * scale;
  softmax(scores, n);
  for (int64_t d = 0; d < size; d += 4 * kLanes) {  // four registers of the head at a time
    const int64_t left = size - d;
    Vector total[4] = {};
    if (left >= 4 * kLanes) {
      for (int64_t p = 0; p < n; ++p)
        for (int i = 0; i < 4; ++i) total[i] += scores[p] * load(value(p) + d + i * kLanes);
    } else {
      for (int64_t p = 0; p < n; ++p)
        for (int i = 0; i * kLanes < left; ++i) total[i] += scores[p] * load(value(p) + d + i * kLanes, left - i * kLanes);
    }
    for (int i = 0; i < 4 && i * kLanes < left; ++i) store(mixed + d + i * kLanes, total[i], left - i * kLanes);
  }
}

inline void self_attention(const fuseline_self_attention& a, int64_t first, int64_t last, float* scratch) {
  const int64_t width = a.heads * a.head_size;
  for (int64_t n = first; n < last; ++n) {
    const int64_t row = n / a.tokens, seen = a.position + n % a.tokens + 1;
    const int64_t* table = a.beam_table + row * a.capacity;
    for (int64_t h = 0; h < a.heads; ++h) {
      const auto place = [&](int64_t p) { return (p * a.rows + table[p]) * width + h * a.head_size; };
      attend(
          a.qkv + n * 3 * width + h * a.head_size, a.head_size, seen, a.scale, scratch,
          a.mixed + n * width + h * a.head_size, [&](int64_t p) { return a.key + place(p); },
          [&](int64_t p) { return a.value + place(p); });
    }
  }
}

inline void cross_attention(const fuseline_cross_attention& a, int64_t first, int64_t last, float* scratch) {
  const int64_t width = a.heads * a.head_size, queries = a.queries / a.photos;
  for (int64_t job = first; job < last; ++job) {  // a head of a photo, for all its queries: keys stay in the cache
    const int64_t photo = job / a.heads, head = (job % a.heads) * a.head_size;
    const float* key = a.key + photo * a.positions * width + head;
    const float* value = a.value + photo * a.positions * width + head;
    for (int64_t g = photo * queries; g < (photo + 1) * queries; ++g)
      attend(
          a.query + g * width + head, a.head_size, a.positions, a.scale, scratch, a.mixed + g * width + head,
          [&](int64_t p) { return key + p * width; }, [&](int64_t p) { return value + p * width; });
  }
}

}  // namespace
}  // namespace fuseline
