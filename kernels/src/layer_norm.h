// What a norm is to the instruction sets.
#pragma once

#include "fuseline_kernels.h"

namespace fuseline {

// The rows [first, last).
typedef void LayerNorm(const fuseline_layer_norm& norm, int64_t first, int64_t last);
typedef void RmsNorm(const fuseline_rms_norm& norm, int64_t first, int64_t last);

LayerNorm layer_norm_scalar, layer_norm_avx2, layer_norm_avx512, layer_norm_neon;
RmsNorm rms_norm_scalar, rms_norm_avx2, rms_norm_avx512, rms_norm_neon;

}  // namespace fuseline
