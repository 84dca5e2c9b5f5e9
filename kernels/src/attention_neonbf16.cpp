// An encoder's attention in bfloat16 with BFMMLA, which multiplies two queries by two keys, and their weights by two of a value's numbers.
// The algorithm is in encoder_attention.h.
#include "bfmmla.h"
#include "encoder_attention.h"

namespace fuseline {
namespace {

FUSELINE_INNER inline float32x4_t quarter(const Vector& v, int q) {
  float32x4_t of;
  memcpy(&of, reinterpret_cast<const char*>(&v) + q * sizeof of, sizeof of);
  return of;
}
FUSELINE_INNER inline void set_quarter(Vector& v, int q, float32x4_t to) {
  memcpy(reinterpret_cast<char*>(&v) + q * sizeof to, &to, sizeof to);
}

// `lines` pairs of inputs of R queries by a vector's, `line` floats apart, added to totals that are `stride` vectors apart. A query that
// is left over makes a pair with itself.
template <int R>
FUSELINE_OUTER void multiply(const float* x, int64_t apart, const float* y, int64_t lines, int64_t line, Vector* totals, int64_t stride) {
  constexpr int P = (R + 1) / 2;
  const auto second = [](int p) FUSELINE_INNER { return 2 * p + 1 < R ? 2 * p + 1 : 2 * p; };
  float32x4_t sums[P][8];
  repeat<P>([&](int p) FUSELINE_INNER {
    repeat<4>([&](int q) FUSELINE_INNER {
      const float32x4_t a = quarter(totals[2 * p * stride], q), b = quarter(totals[second(p) * stride], q);
      sums[p][2 * q] = low_halves(a, b);
      sums[p][2 * q + 1] = high_halves(a, b);
    });
  });
  for (int64_t n = 0; n < lines; n += 2, x += 2, y += 2 * line) {
    const auto pair = [&](int p) FUSELINE_INNER {
      return vreinterpretq_bf16_f32(vcombine_f32(vld1_f32(x + 2 * p * apart), vld1_f32(x + second(p) * apart)));
    };
    add_quad<P, 8>(pair, y, n + 1 < lines ? y + line : kZeroLine, sums);
  }
  repeat<P>([&](int p) FUSELINE_INNER {
    repeat<4>([&](int q) FUSELINE_INNER {
      set_quarter(totals[2 * p * stride], q, low_halves(sums[p][2 * q], sums[p][2 * q + 1]));
      if (second(p) > 2 * p) set_quarter(totals[second(p) * stride], q, high_halves(sums[p][2 * q], sums[p][2 * q + 1]));
    });
  });
}

struct TwoByTwo : InPairs<TwoByTwo> {
  static constexpr bool kTwoByTwo = true;

  static Floats rounded(Pair<Floats> v) {
    const auto low = reinterpret_cast<float32x4_t>(v.low), high = reinterpret_cast<float32x4_t>(v.high);
    return reinterpret_cast<Floats>(vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(low), high));
  }
  static Pair<Floats> rounded(Vector v) { return {rounded(v.low), rounded(v.high)}; }
  static Vector rounded(Vector first, Vector second) { return {rounded(first), rounded(second)}; }
  static Pair<Floats> in_turns(Floats a, Floats b) {
    const auto first = reinterpret_cast<uint16x8_t>(a), second = reinterpret_cast<uint16x8_t>(b);
    return {reinterpret_cast<Floats>(vzip1q_u16(first, second)), reinterpret_cast<Floats>(vzip2q_u16(first, second))};
  }
  static Vector side_by_side(Vector first, Vector second) {
    return {in_turns(rounded(first.low), rounded(second.low)), in_turns(rounded(first.high), rounded(second.high))};
  }
  static void weights(float* scores, int64_t p, Vector v) { write(scores + p / 2, rounded(v)); }
  template <int R, int W>
  static void add_up(const float* x, int64_t apart, const float* y, int64_t n, int64_t line, int64_t next, Vector (&totals)[R][W]) {
    for (int w = 0; w < W; ++w) multiply<R>(x, apart, y + w * next, n, line, &totals[0][w], W);
  }
};

}  // namespace

void encoder_attention_neonbf16(const fuseline_encoder_attention& a, int64_t first, int64_t last, float* scratch) {
  if (a.format != FUSELINE_BFLOAT16) return encoder_attention_neon(a, first, last, scratch);
  encoder_attention<TwoByTwo>(a, first, last, scratch);
}

}  // namespace fuseline
