// What attention is to the instruction sets: one row of queries, its keys and values at given places.
#pragma once

#include "fuseline_kernels.h"

namespace fuseline {

namespace {  // for the reason given in top_candidates_rows.h

// So many floats as whole vectors hold, of any instruction set.
inline int64_t whole(int64_t floats) { return (floats + 15) / 16 * 16; }

// A job of an encoder's attention: so many queries of one head. All of them read keys and values that were put in order once.
constexpr int64_t kBlockQueries = 64;
// Queries whose scores lie side by side in scratch memory.
constexpr int64_t kScoredQueries = 8;

inline int64_t encoder_blocks(const fuseline_encoder_attention& a) { return (a.positions + kBlockQueries - 1) / kBlockQueries; }

// Of cross-attention to several sources with a softmax each: the numbers of a source and head that are kept until all are done, largest
// scores and sums of exponentials of as many queries as a vector has lanes.
constexpr int64_t kFoundNumbers = 32;

}  // namespace

// Jobs [first, last) as fuseline_kernels.h counts them. scratch: of this thread's own, as large as the functions there say.
typedef void SelfAttention(const fuseline_self_attention& a, int64_t first, int64_t last, float* scratch);
typedef void CrossAttention(const fuseline_cross_attention& a, int64_t first, int64_t last, float* scratch);
typedef void SourcesAttention(const fuseline_sources_attention& a, int64_t first, int64_t last, float* scratch);
typedef void EncoderAttention(const fuseline_encoder_attention& a, int64_t first, int64_t last, float* scratch);
typedef void ToHalves(const fuseline_halves& conversion);

SelfAttention self_attention_scalar, self_attention_avx2, self_attention_avx512, self_attention_neon;
CrossAttention cross_attention_scalar, cross_attention_avx2, cross_attention_avx512, cross_attention_neon;
SourcesAttention sources_attention_scalar, sources_attention_avx2, sources_attention_avx512, sources_attention_neon;
EncoderAttention encoder_attention_scalar, encoder_attention_avx2, encoder_attention_avx512, encoder_attention_neon;
ToHalves to_halves_scalar, to_halves_avx2, to_halves_avx512, to_halves_neon;

}  // namespace fuseline
