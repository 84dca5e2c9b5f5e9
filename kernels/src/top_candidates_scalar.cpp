// top_candidates in plain C++, for every CPU. Eight lanes in an array: compilers turn the loops over them into whatever
// vectors the CPU has without being asked for (SSE2, NEON).
#include <string.h>

#include "top_candidates.h"
#include "top_candidates_rows.h"

namespace fuseline {
namespace {

struct Scalar {
  static constexpr int kLanes = 8;
  struct Vector {
    float lane[kLanes];
  };

  static Vector load(const float* p) {
    Vector v;
    memcpy(v.lane, p, sizeof v.lane);
    return v;
  }
  static Vector load_first(const float* p, int n) {
    Vector v = splat(-INFINITY);
    for (int i = 0; i < n; ++i) v.lane[i] = p[i];
    return v;
  }
  static Vector splat(float x) {
    Vector v;
    for (float& lane : v.lane) lane = x;
    return v;
  }
  static Vector add(Vector a, Vector b) {
    for (int i = 0; i < kLanes; ++i) a.lane[i] += b.lane[i];
    return a;
  }
  static Vector subtract(Vector a, Vector b) {
    for (int i = 0; i < kLanes; ++i) a.lane[i] -= b.lane[i];
    return a;
  }
  static Vector larger(Vector a, Vector b) {
    for (int i = 0; i < kLanes; ++i) b.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
    return b;
  }
  static Vector exp(Vector x) {
    for (float& lane : x.lane) lane = exp_of(lane);
    return x;
  }
  static uint32_t above(Vector a, Vector b) {
    uint32_t bits = 0;
    for (int i = 0; i < kLanes; ++i) bits |= static_cast<uint32_t>(a.lane[i] > b.lane[i]) << i;
    return bits;
  }
  static float largest(Vector a) {
    float found = a.lane[0];
    for (float lane : a.lane) found = lane > found ? lane : found;
    return found;
  }
  static float sum(Vector a) {
    float total = 0;
    for (float lane : a.lane) total += lane;
    return total;
  }

 private:
  static float exp_of(float x) {
    x = x > kLeastExponent ? x : kLeastExponent;
    // Adding 1.5 * 2^23 leaves the nearest whole number in the low bits of the mantissa.
    constexpr float shifter = 12582912.0f;
    const float shifted = x * kLog2E + shifter;
    const float n = shifted - shifter;
    const float r = x - n * kLn2;
    const float p = 1 + r * (1 + r * (kExp2 + r * (kExp3 + r * (kExp4 + r * (kExp5 + r * kExp6)))));
    return p * power_of_two(shifted);
  }
  static float power_of_two(float shifted) {
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127) << 23;  // all but the low bits of the whole number leave at the top
    float power;
    memcpy(&power, &bits, sizeof power);
    return power;
  }
};

}  // namespace

void top_candidates_scalar(const float* logits, int64_t rows, int64_t vocab, int64_t row_stride, int64_t k,
                           float* values, int64_t* indices, float* logsumexp) {
  all_rows<Scalar>(logits, rows, vocab, row_stride, k, values, indices, logsumexp);
}

}  // namespace fuseline
