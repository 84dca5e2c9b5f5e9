// Attention for the instruction set scalar, which the compiler is told of; the algorithms are in attention_rows.h and
// encoder_attention.h.
#include "attention_rows.h"
#include "encoder_attention.h"

namespace fuseline {

void self_attention_scalar(const fuseline_self_attention& a, int64_t first, int64_t last, float* scratch) {
  self_attention(a, first, last, scratch);
}

void cross_attention_scalar(const fuseline_cross_attention& a, int64_t first, int64_t last, float* scratch) {
  cross_attention(a, first, last, scratch);
}

void encoder_attention_scalar(const fuseline_encoder_attention& a, int64_t first, int64_t last, float* scratch) {
  if (a.format == FUSELINE_BFLOAT16) return encoder_attention<Rounded>(a, first, last, scratch);
  encoder_attention<AsTheyAre>(a, first, last, scratch);
}

void to_halves_scalar(const fuseline_halves& conversion) { to_halves(conversion); }

}  // namespace fuseline
