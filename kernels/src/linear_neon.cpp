// Linear layers with NEON and its dot product.
#include <arm_neon.h>

#include "linear_bottleneck.h"
#include "linear_many.h"

namespace fuseline {
namespace {

struct Neon {
  struct Sums {
    int32x4_t a, b, c, d;  // 4 outputs each
  };
  struct Weights {
    int8x16_t a, b, c, d;
  };
  typedef int8x16_t Inputs;
  static constexpr int kRows = 4, kBlocks = 1, kCodeRows = 4, kFloatRows = 6;
  static constexpr bool kPairs = false, kGroups = false;

  static Sums splat(int32_t n) {
    const int32x4_t all = vdupq_n_s32(n);
    return {all, all, all, all};
  }
  static Sums start(int32_t) { return splat(0); }
  static Floats to_floats(int32x4_t sums) { return reinterpret_cast<Floats>(vcvtq_f32_s32(sums)); }
  static Vector to_float(const Sums& s) { return {{to_floats(s.a), to_floats(s.b)}, {to_floats(s.c), to_floats(s.d)}}; }
  static int8x16_t flipped(const uint8_t* p, uint8_t bits) {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(p), vdupq_n_u8(bits)));
  }
  static Weights load(const uint8_t* p) {  // zero point 128 to 0
    return {flipped(p, 0x80), flipped(p + 16, 0x80), flipped(p + 32, 0x80), flipped(p + 48, 0x80)};
  }
  static Inputs inputs(const int8_t* p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
  }
  static Sums dot(const Sums& s, const Weights& w, Inputs x) {
    return {vdotq_s32(s.a, w.a, x), vdotq_s32(s.b, w.b, x), vdotq_s32(s.c, w.c, x), vdotq_s32(s.d, w.d, x)};
  }
  typedef Weights Active;
  static Active active(const uint8_t* p) { return load(p); }
  static Sums dot_active(const Sums& sums, const Active& w, const Inputs& a) { return dot(sums, w, a); }
  // 16 inputs of 4 outputs: of R rows the inputs are one register each, whose quads are chosen by lane.
  template <int R>
  static void dot16(int32x4_t Sums::*part, Sums* sums, const uint8_t* w, const int8x16_t* inputs) {
    const uint8x16_t mask = vdupq_n_u8(15), one = vld1q_u8(w), two = vld1q_u8(w + 64);
    const int8x16_t first = vreinterpretq_s8_u8(vandq_u8(one, mask)), second = vreinterpretq_s8_u8(vshrq_n_u8(one, 4));
    const int8x16_t third = vreinterpretq_s8_u8(vandq_u8(two, mask)), fourth = vreinterpretq_s8_u8(vshrq_n_u8(two, 4));
    repeat<R>([&](int r) {
      int32x4_t sum = sums[r].*part;
      sum = vdotq_laneq_s32(sum, first, inputs[r], 0);
      sum = vdotq_laneq_s32(sum, second, inputs[r], 1);
      sum = vdotq_laneq_s32(sum, third, inputs[r], 2);
      sums[r].*part = vdotq_laneq_s32(sum, fourth, inputs[r], 3);
    });
  }
  template <int R>
  static void dot4(Sums* sums, const uint8_t* w, const int8_t* a, int64_t stride) {
    for (int half = 0; half < 2; ++half, w += 128, a += 16) {
      int8x16_t inputs[R];
      repeat<R>([&](int r) { inputs[r] = vld1q_s8(a + r * stride); });
      dot16<R>(&Sums::a, sums, w, inputs);
      dot16<R>(&Sums::b, sums, w + 16, inputs);
      dot16<R>(&Sums::c, sums, w + 32, inputs);
      dot16<R>(&Sums::d, sums, w + 48, inputs);
      __asm__ volatile("" ::: "memory");  // the second half's loads stay here: there are no registers for them before
    }
  }
};

}  // namespace

void prepare_rows_neon(const fuseline_linear& layer, const Prepared& into, int64_t first, int64_t last) {
  all_rows_prepared<Neon>(layer, into, first, last);
}

void linear_blocks_neon(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  all_blocks<Neon>(layer, x, first, last);
}

void widen_neon(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t blocks, float* const* to) {
  widen_rows<Neon>(layer, x, first, blocks, to);
}

void narrow_neon(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  narrow_blocks<Neon>(layer, x, first, last);
}

}  // namespace fuseline
