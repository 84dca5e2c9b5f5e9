// Norms for the instruction set scalar, which the compiler is told of; the algorithm is in layer_norm_rows.h.
#include "layer_norm_rows.h"

namespace fuseline {

void layer_norm_scalar(const fuseline_layer_norm& norm, int64_t first, int64_t last) { layer_norm(norm, first, last); }

void rms_norm_scalar(const fuseline_rms_norm& norm, int64_t first, int64_t last) { rms_norm(norm, first, last); }

}  // namespace fuseline
