// The vocabulary of linear layers with AVX-512 and VNNI.
#pragma once

#include <immintrin.h>

#include "linear_many.h"

namespace fuseline {
namespace {

struct Avx512 {
  typedef __m512i Sums;
  typedef __m512i Weights;
  typedef __m512i Inputs;
  static constexpr int kRows = 8, kBlocks = 2, kCodeRows = 14, kFloatRows = 14;
  static constexpr bool kPairs = false, kGroups = true;

  struct Four {
    int8_t of[4];
  };

  static Sums splat(int32_t n) { return _mm512_set1_epi32(n); }
  // The weights are multiplied as they are, unsigned; this takes their zero point away again.
  static Sums start(int32_t sum) { return splat(-128 * sum); }
  static Vector to_float(Sums sums) { return reinterpret_cast<Vector>(_mm512_cvtepi32_ps(sums)); }
  static Weights load(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static Inputs inputs(const int8_t* p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32(word);
  }
  // As an instruction: of the intrinsic GCC 12 makes two copies of every sum each time, which Intel's CPUs do not do for nothing.
  static Sums dot(Sums sums, Weights w, Inputs a) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(w), "v"(a));
    return sums;
  }
  // The activations from memory, for all outputs.
  static Sums dot(Sums sums, Weights w, const int8_t* p) {
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sums) : "v"(w), "m"(*reinterpret_cast<const Four*>(p)));
    return sums;
  }
  // Here the activations are what is multiplied without a sign, and the weights have theirs.
  typedef Weights Active;
  static Active active(const uint8_t* p) { return _mm512_xor_si512(load(p), _mm512_set1_epi8(static_cast<char>(0x80))); }
  static Sums dot_active(const Sums& sums, const Active& w, const Inputs& a) { return dot(sums, a, w); }
  template <int R>
  static void dot4(Sums* sums, const uint8_t* w, const int8_t* a, int64_t stride) {
    const __m512i mask = _mm512_set1_epi8(15);
    repeat<4>([&](int pair) {
      const __m512i both = load(w + 64 * pair);
      const __m512i first = _mm512_and_si512(both, mask);
      const __m512i second = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
      repeat<R>([&](int r) {
        const int8_t* quads = a + r * stride + 8 * pair;
        sums[r] = dot(dot(sums[r], first, inputs(quads)), second, inputs(quads + 4));
      });
    });
  }
  // The same for n rows of a group (linear_many.h).
  template <int R>
  static void dot4(Sums* sums, const uint8_t* w, const int8_t* a) {
    const __m512i mask = _mm512_set1_epi8(15);
    repeat<4>([&](int pair) {
      const __m512i both = load(w + 64 * pair);
      const __m512i first = _mm512_and_si512(both, mask);
      const __m512i second = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
      const int8_t* quads = a + 8 * kCodeRows * pair;
      repeat<R>([&](int r) { sums[r] = dot(sums[r], first, quads + 4 * r); });
      repeat<R>([&](int r) { sums[r] = dot(sums[r], second, quads + 4 * (kCodeRows + r)); });
    });
  }
};

}  // namespace
}  // namespace fuseline
