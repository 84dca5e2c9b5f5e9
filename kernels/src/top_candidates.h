// top_candidates for every instruction set; fuseline_kernels.h says what it computes. The arguments have been checked.
#pragma once

#include <cstdint>

namespace fuseline {

using TopCandidates = void(const float* logits, int64_t rows, int64_t vocab, int64_t row_stride, int64_t k,
                           float* values, int64_t* indices, float* logsumexp);

TopCandidates top_candidates_scalar;
TopCandidates top_candidates_avx2;
TopCandidates top_candidates_avx512;
TopCandidates top_candidates_neon;

}  // namespace fuseline
