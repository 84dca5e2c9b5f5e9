// Linear layers with AVX-512 and VNNI, and in bfloat16 with BF16 where there is that.
#include "linear_avx512.h"
#include "linear_bottleneck.h"

namespace fuseline {
namespace {

struct Avx512BFloat16 : Avx512 {
  static constexpr bool kPairs = true;

  static Vector pair(const float* p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return reinterpret_cast<Vector>(_mm512_set1_epi32(word));
  }
  // As an instruction, which needs no flag of the compiler's that the rest of this file must not have.
  static Vector add_pairs(Vector x, Vector w, Vector y) {
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(y) : "v"(w), "v"(x));
    return y;
  }
};

}  // namespace

void prepare_rows_avx512(const fuseline_linear& layer, const Prepared& into, int64_t first, int64_t last) {
  all_rows_prepared<Avx512>(layer, into, first, last);
}

void linear_blocks_avx512(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  all_blocks<Avx512>(layer, x, first, last);
}

void widen_avx512(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  bottleneck_blocks<Widening, Avx512>(layer, x, first, last);
}

void narrow_avx512(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  bottleneck_blocks<Narrowing, Avx512>(layer, x, first, last);
}

void prepare_rows_avx512bf16(const fuseline_linear& layer, const Prepared& into, int64_t first, int64_t last) {
  if (layer.format != FUSELINE_BFLOAT16) return prepare_rows_avx512(layer, into, first, last);
  rows_rounded<Avx512BFloat16, Paired>(layer, into, first, last);
}

void linear_blocks_avx512bf16(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  if (layer.format != FUSELINE_BFLOAT16) return linear_blocks_avx512(layer, x, first, last);
  all_blocks<Avx512BFloat16>(layer, x, first, last);
}

}  // namespace fuseline
