// What attention is to the instruction sets: one row of queries, its keys and values at given places.
#pragma once

#include "fuseline_kernels.h"

namespace fuseline {

namespace {  // for the reason given in top_candidates_rows.h

// So many floats as whole vectors hold, of any instruction set.
inline int64_t whole(int64_t floats) { return (floats + 15) / 16 * 16; }

}  // namespace

// The outputs of the queries [first, last) of all rows x tokens. scratch: of this thread's own, as large as the
// functions in fuseline_kernels.h say.
typedef void SelfAttention(const fuseline_self_attention& a, int64_t first, int64_t last, float* scratch);
typedef void CrossAttention(const fuseline_cross_attention& a, int64_t first, int64_t last, float* scratch);

typedef void ToHalves(const fuseline_kept& kept);

ToHalves to_halves_scalar, to_halves_avx2, to_halves_avx512, to_halves_neon;
SelfAttention self_attention_scalar, self_attention_avx2, self_attention_avx512, self_attention_neon;
CrossAttention cross_attention_scalar, cross_attention_avx2, cross_attention_avx512, cross_attention_neon;

}  // namespace fuseline
