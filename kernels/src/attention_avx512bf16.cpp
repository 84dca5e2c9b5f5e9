// An encoder's attention in bfloat16 with AVX-512 and BF16, which multiplies pairs: of a query's and a key's numbers, and of two positions'
// weights and values. The algorithm is in encoder_attention.h.
#include "encoder_attention.h"

namespace fuseline {
namespace {

// Instructions are written out since the compiler knows them only with a flag that the rest of the file must not have.
struct Pairs : InPairs<Pairs> {
  static __m512i rounded(Vector first, Vector second) {
    __m512i all;
    __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(all) : "v"(first), "v"(second));
    return all;
  }
  static Vector side_by_side(Vector first, Vector second) {
    alignas(64) static constexpr uint16_t kOrder[] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return reinterpret_cast<Vector>(_mm512_permutexvar_epi16(_mm512_load_si512(kOrder), rounded(first, second)));
  }
  static Vector input(const float* p) {
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return reinterpret_cast<Vector>(_mm512_set1_epi32(pair));
  }
  static Vector add(Vector x, Vector y, Vector sums) {
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sums) : "v"(y), "v"(x));
    return sums;
  }
  static void weights(float* scores, int64_t p, Vector v) {
    __m256i rounded;
    __asm__("vcvtneps2bf16 %1, %0" : "=v"(rounded) : "v"(v));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(scores + p / 2), rounded);
  }
};

}  // namespace

void encoder_attention_avx512bf16(const fuseline_encoder_attention& a, int64_t first, int64_t last, float* scratch) {
  if (a.format != FUSELINE_BFLOAT16) return encoder_attention_avx512(a, first, last, scratch);
  encoder_attention<Pairs>(a, first, last, scratch);
}

}  // namespace fuseline
