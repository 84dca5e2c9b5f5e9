// Attention for the instruction set avx2, which the compiler is told of; the algorithm is in attention_rows.h.
#include "attention_rows.h"

namespace fuseline {

void self_attention_avx2(const fuseline_self_attention& a, int64_t first, int64_t last, float* scratch) {
  self_attention(a, first, last, scratch);
}

void cross_attention_avx2(const fuseline_cross_attention& a, int64_t first, int64_t last, float* scratch) {
  cross_attention(a, first, last, scratch);
}

void to_halves_avx2(const fuseline_kept& kept) { kept_as_halves(kept); }

}  // namespace fuseline
