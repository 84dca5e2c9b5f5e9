// What attention is to the instruction sets: one row of queries, its keys and values at given places.
#pragma once

#include "fuseline_kernels.h"

namespace fuseline {

// The outputs of the queries [first, last) of all rows x tokens. scratch: of this thread's own, as large as the
// functions in fuseline_kernels.h say.
typedef void SelfAttention(const fuseline_self_attention& a, int64_t first, int64_t last, float* scratch);
typedef void CrossAttention(const fuseline_cross_attention& a, int64_t first, int64_t last, float* scratch);

SelfAttention self_attention_scalar, self_attention_avx2, self_attention_avx512, self_attention_neon;
CrossAttention cross_attention_scalar, cross_attention_avx2, cross_attention_avx512, cross_attention_neon;

}  // namespace fuseline
