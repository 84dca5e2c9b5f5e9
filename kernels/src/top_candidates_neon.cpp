// top_candidates with NEON, eight lanes in two registers.
#include <arm_neon.h>

#include "top_candidates.h"
#include "top_candidates_rows.h"

namespace fuseline {
namespace {

struct Neon {
  static constexpr int kLanes = 8;
  struct Vector {
    float32x4_t low, high;
  };

  static Vector load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
  static Vector load_first(const float* p, int n) {
    float lanes[kLanes];
    for (int i = 0; i < kLanes; ++i) lanes[i] = i < n ? p[i] : -INFINITY;
    return load(lanes);
  }
  static Vector splat(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
  static Vector add(Vector a, Vector b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
  static Vector subtract(Vector a, Vector b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
  // Not vmaxnm, which gives NaN where one is a signalling NaN.
  static Vector larger(Vector a, Vector b) { return {larger(a.low, b.low), larger(a.high, b.high)}; }
  static Vector exp(Vector x) { return {exp(x.low), exp(x.high)}; }
  static uint32_t above(Vector a, Vector b) {
    return bits(vcgtq_f32(a.low, b.low)) | bits(vcgtq_f32(a.high, b.high)) << 4;
  }
  static float largest(Vector a) { return vmaxvq_f32(vmaxq_f32(a.low, a.high)); }
  static float sum(Vector a) { return vaddvq_f32(vaddq_f32(a.low, a.high)); }

 private:
  static float32x4_t larger(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static uint32_t bits(uint32x4_t lanes) {
    const uint32_t places[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(lanes, vld1q_u32(places)));
  }
  static float32x4_t exp(float32x4_t x) {
    x = larger(x, vdupq_n_f32(kLeastExponent));
    const float32x4_t n = vrndnq_f32(vmulq_n_f32(x, kLog2E));
    const float32x4_t r = vfmsq_n_f32(x, n, kLn2);
    float32x4_t p = vfmaq_n_f32(vdupq_n_f32(kExp5), r, kExp6);
    p = vfmaq_f32(vdupq_n_f32(kExp4), p, r);
    p = vfmaq_f32(vdupq_n_f32(kExp3), p, r);
    p = vfmaq_f32(vdupq_n_f32(kExp2), p, r);
    p = vfmaq_f32(vdupq_n_f32(1), p, r);
    p = vfmaq_f32(vdupq_n_f32(1), p, r);
    const int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);
    return vmulq_f32(p, vreinterpretq_f32_s32(power));
  }
};

}  // namespace

void top_candidates_neon(const float* logits, int64_t rows, int64_t vocab, int64_t row_stride, int64_t k,
                         float* values, int64_t* indices, float* logsumexp) {
  all_rows<Neon>(logits, rows, vocab, row_stride, k, values, indices, logsumexp);
}

}  // namespace fuseline
