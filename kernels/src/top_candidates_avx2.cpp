// top_candidates with AVX2 and FMA, eight lanes.
#include <immintrin.h>

#include "top_candidates.h"
#include "top_candidates_rows.h"

namespace fuseline {
namespace {

struct Avx2 {
  static constexpr int kLanes = 8;
  using Vector = __m256;

  static Vector load(const float* p) { return _mm256_loadu_ps(p); }
  static Vector load_first(const float* p, int n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i wanted = _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane);
    return _mm256_blendv_ps(splat(-INFINITY), _mm256_maskload_ps(p, wanted), _mm256_castsi256_ps(wanted));
  }
  static Vector splat(float x) { return _mm256_set1_ps(x); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector subtract(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  static Vector larger(Vector a, Vector b) { return _mm256_max_ps(a, b); }  // the second where one is NaN
  static Vector exp(Vector x) {
    x = _mm256_max_ps(x, splat(kLeastExponent));
    const Vector n = _mm256_round_ps(_mm256_mul_ps(x, splat(kLog2E)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Vector r = _mm256_fnmadd_ps(n, splat(kLn2), x);
    Vector p = _mm256_fmadd_ps(splat(kExp6), r, splat(kExp5));
    p = _mm256_fmadd_ps(p, r, splat(kExp4));
    p = _mm256_fmadd_ps(p, r, splat(kExp3));
    p = _mm256_fmadd_ps(p, r, splat(kExp2));
    p = _mm256_fmadd_ps(p, r, splat(1));
    p = _mm256_fmadd_ps(p, r, splat(1));
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
  }
  static uint32_t above(Vector a, Vector b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
  }
  static float largest(Vector a) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  static float sum(Vector a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
};

}  // namespace

void top_candidates_avx2(const float* logits, int64_t rows, int64_t vocab, int64_t row_stride, int64_t k,
                         float* values, int64_t* indices, float* logsumexp) {
  all_rows<Avx2>(logits, rows, vocab, row_stride, k, values, indices, logsumexp);
}

}  // namespace fuseline
