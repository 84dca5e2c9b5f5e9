// Linear layers with AVX2, FMA and F16C.
#include <immintrin.h>

#include "linear_bottleneck.h"
#include "linear_many.h"
#include "linear_pairs.h"

namespace fuseline {
namespace {

struct Avx2 {
  struct Sums {
    __m256i low, high;  // outputs 0 to 7, 8 to 15
  };
  struct Weights {
    __m256i low, high;            // signed
    __m256i low_size, high_size;  // without their signs: -128 is 128
  };
  struct Inputs {
    __m256i value;
  };
  static constexpr int kRows = 4, kBlocks = 1, kCodeRows = 4, kFloatRows = 6;
  static constexpr bool kPairs = false, kGroups = false;

  static Sums splat(int32_t n) { return {_mm256_set1_epi32(n), _mm256_set1_epi32(n)}; }
  static Sums start(int32_t) { return splat(0); }
  static Vector to_float(Sums sums) {
    return {_mm256_cvtepi32_ps(sums.low), _mm256_cvtepi32_ps(sums.high)};
  }
  static __m256i bytes(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Weights load(const uint8_t* p) {
    const __m256i flip = _mm256_set1_epi8(static_cast<char>(0x80));  // zero point 128 to 0
    const __m256i low = _mm256_xor_si256(bytes(p), flip), high = _mm256_xor_si256(bytes(p + 32), flip);
    return {low, high, _mm256_abs_epi8(low), _mm256_abs_epi8(high)};
  }
  static __m256i four(const int8_t* p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm256_set1_epi32(word);
  }
  static Inputs inputs(const int8_t* p) {
    return {four(p)};
  }
  // Adds up what pairs of products come to.
  static __m256i widened(__m256i sums, __m256i pairs) {
    // As an instruction: of the intrinsic GCC 12 makes copies of the sums, and registers run out.
    __asm__("vpaddd %1, %0, %0" : "+x"(sums) : "x"(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
    return sums;
  }
  // |w| * (a with w's sign): the pairs' sums are at most 2 x 128 x 127, which 16 bits hold. The other way round a sign would be
  // lost: a weight may be -128, whose opposite 8 bits do not hold, and an activation is at most 127.
  static __m256i products(__m256i sums, __m256i w, __m256i size, const Inputs& a) {
    return widened(sums, _mm256_maddubs_epi16(size, _mm256_sign_epi8(a.value, w)));
  }
  static Sums dot(Sums sums, const Weights& w, const Inputs& a) {
    return {products(sums.low, w.low, w.low_size, a), products(sums.high, w.high, w.high_size, a)};
  }
  // Activations that are not negative are multiplied as they are.
  struct Active {
    __m256i low, high;
  };
  static Active active(const uint8_t* p) {
    const __m256i flip = _mm256_set1_epi8(static_cast<char>(0x80));
    return {_mm256_xor_si256(bytes(p), flip), _mm256_xor_si256(bytes(p + 32), flip)};
  }
  static __m256i products(__m256i sums, __m256i w, const Inputs& a) {
    return widened(sums, _mm256_maddubs_epi16(a.value, w));
  }
  static Sums dot_active(const Sums& sums, const Active& w, const Inputs& a) {
    return {products(sums.low, w.low, a), products(sums.high, w.high, a)};
  }
  // 8 products of at most 15 x 127 and their neighbours' fit 16 bits, so they are widened once for all 32 inputs.
  template <int R>
  static void dot4(Sums* sums, const uint8_t* w, const int8_t* a, int64_t stride) {
    const __m256i mask = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    for (int half = 0; half < 2; ++half) {
      __m256i narrow[R];
      repeat<R>([&](int r) { narrow[r] = _mm256_setzero_si256(); });
#pragma GCC unroll 1  // or the sums of all turns are wanted at once, for which there are no registers
      for (int pair = 0; pair < 4; ++pair) {
        const __m256i both = bytes(w + 64 * pair + 32 * half);
        const __m256i first = _mm256_and_si256(both, mask);
        const __m256i second = _mm256_and_si256(_mm256_srli_epi16(both, 4), mask);
        repeat<R>([&](int r) {
          const int8_t* quads = a + r * stride + 8 * pair;
          narrow[r] = _mm256_add_epi16(narrow[r], _mm256_maddubs_epi16(first, four(quads)));
          narrow[r] = _mm256_add_epi16(narrow[r], _mm256_maddubs_epi16(second, four(quads + 4)));
        });
      }
      repeat<R>([&](int r) {
        __m256i& into = half == 0 ? sums[r].low : sums[r].high;
        into = _mm256_add_epi32(into, _mm256_madd_epi16(narrow[r], ones));
      });
    }
  }
};

}  // namespace

void prepare_rows_avx2(const fuseline_linear& layer, const Prepared& into, int64_t first, int64_t last) {
  all_rows_prepared<Avx2>(layer, into, first, last);
  for (int64_t row = first; into.multiplied != nullptr && row < last; ++row) choose_way(into, row);
}

void linear_blocks_avx2(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  if (layer.format == FUSELINE_INT8) return pairs_blocks<Avx2>(layer, x, first, last);
  all_blocks<Avx2>(layer, x, first, last);
}

void widen_avx2(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t blocks, float* const* to) {
  widen_rows<Avx2>(layer, x, first, blocks, to);
}

void narrow_avx2(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  narrow_blocks<Avx2>(layer, x, first, last);
}

}  // namespace fuseline
