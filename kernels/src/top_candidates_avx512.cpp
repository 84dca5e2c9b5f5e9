// top_candidates with AVX-512, sixteen lanes.
#include <immintrin.h>

#include "top_candidates.h"
#include "top_candidates_rows.h"

namespace fuseline {
namespace {

struct Avx512 {
  static constexpr int kLanes = 16;
  using Vector = __m512;

  static Vector load(const float* p) { return _mm512_loadu_ps(p); }
  static Vector load_first(const float* p, int n) {
    return _mm512_mask_loadu_ps(splat(-INFINITY), static_cast<__mmask16>((1u << n) - 1), p);
  }
  static Vector splat(float x) { return _mm512_set1_ps(x); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  static Vector larger(Vector a, Vector b) { return _mm512_max_ps(a, b); }  // the second where one is NaN
  static Vector exp(Vector x) {
    x = _mm512_max_ps(x, splat(kLeastExponent));
    const Vector n = _mm512_roundscale_ps(_mm512_mul_ps(x, splat(kLog2E)), _MM_FROUND_TO_NEAREST_INT);
    const Vector r = _mm512_fnmadd_ps(n, splat(kLn2), x);
    Vector p = _mm512_fmadd_ps(splat(kExp6), r, splat(kExp5));
    p = _mm512_fmadd_ps(p, r, splat(kExp4));
    p = _mm512_fmadd_ps(p, r, splat(kExp3));
    p = _mm512_fmadd_ps(p, r, splat(kExp2));
    p = _mm512_fmadd_ps(p, r, splat(1));
    p = _mm512_fmadd_ps(p, r, splat(1));
    return _mm512_scalef_ps(p, n);
  }
  static uint32_t above(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
  static float largest(Vector a) { return _mm512_reduce_max_ps(a); }
  static float sum(Vector a) { return _mm512_reduce_add_ps(a); }
};

}  // namespace

void top_candidates_avx512(const float* logits, int64_t rows, int64_t vocab, int64_t row_stride, int64_t k,
                           float* values, int64_t* indices, float* logsumexp) {
  all_rows<Avx512>(logits, rows, vocab, row_stride, k, values, indices, logsumexp);
}

}  // namespace fuseline
