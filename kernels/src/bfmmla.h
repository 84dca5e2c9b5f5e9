// ARM's BFMMLA: 4 inputs of two rows by those of two outputs, added to four sums of float32. BFDOT multiplies pairs. By their definition
// BFMMLA's sums are those of two BFDOTs one after the other, so that a row is the same to the bit by either.
#pragma once

#include "vectors.h"

namespace fuseline {
namespace {

// What rows are multiplied by lies in lines: a pair of inputs of 16 outputs each, a pair as a float32. Where there is an odd number of
// lines, these zeros are the last one's second.
alignas(64) constexpr float kZeroLine[kLanes] = {};

// 4 inputs of P pairs of rows by C pairs of outputs. rows(p): of a pair of rows; first, second: two lines, from the first output on.
template <int P, int C, class Rows>
FUSELINE_INNER inline void add_quad(const Rows& rows, const float* first, const float* second, float32x4_t (&sums)[P][C]) {
  const auto stay = []() FUSELINE_INNER { __asm__ volatile("" ::: "memory"); };  // later loads: no registers have room for them before
  repeat<C / 4>([&](int part) FUSELINE_INNER {
    if (part > 0) stay();
    bfloat16x8_t outputs[4];
    repeat<2>([&](int c) FUSELINE_INNER {
      const float32x4_t one = vld1q_f32(first + 8 * part + 4 * c), two = vld1q_f32(second + 8 * part + 4 * c);
      outputs[2 * c] = vreinterpretq_bf16_f32(vzip1q_f32(one, two));
      outputs[2 * c + 1] = vreinterpretq_bf16_f32(vzip2q_f32(one, two));
    });
    repeat<P>([&](int p) FUSELINE_INNER {
      if (p == 2) stay();
      const bfloat16x8_t pair = rows(p);
      repeat<4>([&](int c) FUSELINE_INNER { sums[p][4 * part + c] = vbfmmlaq_f32(sums[p][4 * part + c], pair, outputs[c]); });
    });
  });
}

// Four outputs of each of two rows become two pairs of outputs of both; and the other way round.
FUSELINE_INNER inline float32x4_t low_halves(float32x4_t a, float32x4_t b) {
  return vreinterpretq_f32_f64(vzip1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}
FUSELINE_INNER inline float32x4_t high_halves(float32x4_t a, float32x4_t b) {
  return vreinterpretq_f32_f64(vzip2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}

}  // namespace
}  // namespace fuseline
