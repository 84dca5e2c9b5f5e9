// Sixteen float32 at once in the compiler's own vector type: it becomes whatever registers an instruction set has, so
// that what needs no special instruction is written once.
//
// To be included by one file an instruction set; all is in an unnamed namespace, for the reason given in
// top_candidates_rows.h.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace fuseline {
namespace {

constexpr int64_t kLanes = 16;

typedef float Vector __attribute__((vector_size(64)));
typedef int32_t Integers __attribute__((vector_size(64)));

inline Vector splat(float x) { return Vector{} + x; }

inline Vector load(const float* p) {
  Vector v;
  memcpy(&v, p, sizeof v);
  return v;
}

// The first n elements, the rest zero; nothing is read beyond them.
inline Vector load(const float* p, int64_t n) {
  if (n >= kLanes) return load(p);
  Vector v{};
  memcpy(&v, p, static_cast<size_t>(n) * sizeof(float));
  return v;
}

inline void store(float* p, Vector v, int64_t n) { memcpy(p, &v, static_cast<size_t>(n < kLanes ? n : kLanes) * sizeof(float)); }

inline float sum(Vector v) {
  float total = 0;
  for (int i = 0; i < kLanes; ++i) total += v[i];
  return total;
}

#if defined(__AVX512F__)
inline Vector load_half(const uint16_t* p) {
  return reinterpret_cast<Vector>(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
}
#elif defined(__F16C__)
inline Vector load_half(const uint16_t* p) {
  const __m256 low = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256 high = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)));
  Vector v;
  memcpy(&v, &low, sizeof low);
  memcpy(reinterpret_cast<char*>(&v) + sizeof low, &high, sizeof high);
  return v;
}
#else
// IEEE 754 half to single: the exponent is moved by a multiplication, which also normalizes what was subnormal.
inline Vector load_half(const uint16_t* p) {
  Integers bits;
  for (int i = 0; i < kLanes; ++i) bits[i] = p[i];
  const Integers sign = (bits & 0x8000) << 16;
  Integers rest = (bits & 0x7fff) << 13;
  Vector scaled = reinterpret_cast<Vector>(rest) * 0x1p112f;
  const Integers special = (bits & 0x7c00) == 0x7c00;  // infinity and NaN keep all ones in the exponent
  rest = (reinterpret_cast<Integers>(scaled) & ~special) | ((rest | 0x7f800000) & special);
  return reinterpret_cast<Vector>(rest | sign);
}
#endif

// exp(x) within 2 units in the last place of float32 for -87 <= x <= 88, held there outside. NaN stays NaN.
inline Vector exponential(Vector x) {
  const Vector low = splat(-87.0f), high = splat(88.0f);
  x = x < low ? low : x;
  x = x > high ? high : x;
  // x = n ln 2 + r, |r| <= ln 2 / 2; adding 1.5 * 2^23 rounds to a whole number. ln 2 in two parts keeps r exact.
  const Vector magic = splat(12582912.0f);
  const Vector shifted = x * 1.44269504f + magic;
  const Vector n = shifted - magic;
  const Vector r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector p = splat(1 / 720.0f);
  p = p * r + 1 / 120.0f;
  p = p * r + 1 / 24.0f;
  p = p * r + 1 / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Integers power = (reinterpret_cast<Integers>(shifted) - 0x4b400000 + 127) << 23;
  const Vector scaled = p * reinterpret_cast<Vector>(power);
  return x == x ? scaled : x;
}

inline Vector sigmoid(Vector x) { return 1.0f / (1.0f + exponential(-x)); }

// erf by Abramowitz and Stegun 7.1.26, within 1.5e-7.
inline Vector error_function(Vector x) {
  const Vector size = x < 0 ? -x : x;
  const Vector t = 1.0f / (1.0f + 0.3275911f * size);
  Vector p = splat(1.061405429f);
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const Vector up = 1.0f - p * t * exponential(-size * size);
  return x < 0 ? -up : up;
}

}  // namespace
}  // namespace fuseline
