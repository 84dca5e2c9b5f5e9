// Activations of a few rows as linear layers with many rows read them: column after column.
#pragma once

#include "vectors.h"

namespace fuseline {
namespace {

#if defined(__AVX2__) && !defined(__AVX512F__)
// The columns, one after the other, of eight rows.
inline void transpose_eight(__m256 (&v)[8]) {
  __m256 pairs[8], fours[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int k = 0; k < 2; ++k) {
      fours[i + 2 * k] = _mm256_shuffle_ps(pairs[i + k], pairs[i + k + 2], 0x44);
      fours[i + 2 * k + 1] = _mm256_shuffle_ps(pairs[i + k], pairs[i + k + 2], 0xee);
    }
  for (int c = 0; c < 4; ++c) {
    v[c] = _mm256_permute2f128_ps(fours[c], fours[4 + c], 0x20);
    v[4 + c] = _mm256_permute2f128_ps(fours[c], fours[4 + c], 0x31);
  }
}

// Eight columns of R rows, of which there are at most 8: R numbers each. last: nothing is written behind the eighth; behind the
// others the next one comes.
template <int R>
inline void write_columns(__m256 (&v)[8], bool last, float* to) {
  static_assert(R <= 8, "a column is one register");
  transpose_eight(v);
  for (int k = 0; k < 7; ++k) _mm256_storeu_ps(to + k * R, v[k]);
  if (last)
    _mm256_maskstore_ps(to + 7 * R, lanes_to(R), v[7]);
  else
    _mm256_storeu_ps(to + 7 * R, v[7]);
}
#endif

// What activations become: as they are, rounded to bfloat16, or pairs of those. many: sixteen columns; one: a single one, of
// which `left` inputs, perhaps none, are there.
struct AsTheyAre {
  static constexpr int kInputs = 1;
  static Vector many(const float* x) { return load(x); }
  static float one(const float* x, int64_t) { return *x; }
};
struct Rounded {
  static constexpr int kInputs = 1;
  static Vector many(const float* x) { return to_bfloat16(load(x)); }
  static float one(const float* x, int64_t left) { return left > 0 ? to_bfloat16(*x) : 0.0f; }
};
#if defined(__AVX512F__)
struct Paired {
  static constexpr int kInputs = 2;
  static Vector many(const float* x) { return bfloat16_pairs(load(x), load(x + kLanes)); }
  static float one(const float* x, int64_t left) {
    const float numbers[2] = {to_bfloat16(x[0]), left > 1 ? to_bfloat16(x[1]) : 0.0f};
    uint32_t bits[2];
    memcpy(bits, numbers, sizeof bits);
    bits[1] |= bits[0] >> 16;
    float pair;
    memcpy(&pair, bits + 1, sizeof pair);
    return pair;
  }
};
#endif

// Some columns of R rows that lie `stride` apart, of which `left` inputs are there. What is written beyond R of 16 lanes is the
// next column's, which comes after it.
template <class Column, int R>
inline void group_rows(const float* x, int64_t stride, int64_t columns, int64_t left, float* to) {
  int64_t i = 0;
#if defined(__AVX512F__)
  for (; i + kLanes < columns; i += kLanes) {
    Vector v[kLanes] = {};
    for (int r = 0; r < R; ++r) v[r] = Column::many(x + r * stride + i * Column::kInputs);
    transpose(v);
    for (int k = 0; k < kLanes; ++k) write(to + (i + k) * R, v[k]);
  }
#elif defined(__AVX2__)
  for (; i + kLanes <= columns && i + kLanes <= left; i += kLanes) {
    __m256 low[8] = {}, high[8] = {};
    for (int r = 0; r < R; ++r) {
      const Vector v = Column::many(x + r * stride + i);
      low[r] = reinterpret_cast<__m256>(v.low);
      high[r] = reinterpret_cast<__m256>(v.high);
    }
    write_columns<R>(low, false, to + i * R);
    write_columns<R>(high, i + kLanes == columns, to + (i + 8) * R);
  }
#endif
  for (; i < columns; ++i)
    for (int r = 0; r < R; ++r)
      to[i * R + r] = Column::one(x + r * stride + i * Column::kInputs, left - i * Column::kInputs);
}

}  // namespace
}  // namespace fuseline
