// Convolutions for the instruction set scalar, which the compiler is told of; the algorithms are in convolutions_rows.h.
#include "convolutions_rows.h"

namespace fuseline {

void convolution_scalar(const fuseline_convolution& convolution, int64_t first, int64_t last, float* scratch) {
  planes_rows(convolution, first, last, scratch);
}

void depthwise_scalar(const fuseline_bottleneck& bottleneck, const Windows& windows, int64_t channel, int64_t blocks, int8_t* codes,
                      int64_t stride) {
  depthwise_row(bottleneck, windows, channel, blocks, codes, stride);
}

}  // namespace fuseline
