// What convolutions are to the instruction sets, and how an inverted bottleneck goes through an image.
#pragma once

#include "fuseline_kernels.h"
#include "linear.h"

namespace fuseline {

constexpr int64_t kMostKernel = 15;          // rows of a convolution's window
constexpr float kMostActive = 6;             // of ReLU6
constexpr float kActiveSteps = 127;          // of a bottleneck's second layer, from 0 to kMostActive
constexpr float kActiveStep = kMostActive / kActiveSteps;

// The zeros of SAME padding along one side, and the results that there are.
struct Side {
  int64_t results, before;

  Side(int64_t size, int64_t kernel, int64_t stride) : results((size + stride - 1) / stride) {
    const int64_t zeros = (results - 1) * stride + kernel - size;
    before = zeros > 0 ? zeros / 2 : 0;
  }
};

// Channels that are widened and convolved together, in blocks of 16: so few that what lies between stays in the first cache.
constexpr int64_t kGroupBlocks = 2;

// What a row of windows covers: rows of the image, each with as many zeros before and after it as its windows reach, of which the
// image has [low, high). A position's channels are those of a group's blocks, the next position's come after them.
struct Windows {
  const float* row[kMostKernel];
  int64_t low, high;
};

// The rows [first, last) of images * rows.
typedef void Convolution(const fuseline_convolution& convolution, int64_t first, int64_t last, float* scratch);
// The first `blocks` of a group's channels of a row of results, from channel `channel` on, as the codes of the layer that follows:
// of the first position at `codes`, `stride` bytes apart.
typedef void Depthwise(const fuseline_bottleneck& bottleneck, const Windows& windows, int64_t channel, int64_t blocks, int8_t* codes,
                       int64_t stride);

Convolution convolution_scalar, convolution_avx2, convolution_avx512, convolution_neon;
Depthwise depthwise_scalar, depthwise_avx2, depthwise_avx512, depthwise_neon;

// The functions of an instruction set that a bottleneck is made of.
struct BottleneckParts {
  PrepareRows* read;
  WidenRows* widen;
  Depthwise* depthwise;
  LinearBlocks* narrow;
};

void bottleneck_read(const BottleneckParts& of, const fuseline_bottleneck& bottleneck, void* scratch, int64_t image, int64_t first,
                     int64_t last);
void bottleneck_convolve(const BottleneckParts& of, const fuseline_bottleneck& bottleneck, void* scratch, void* own, int64_t image,
                         int64_t first, int64_t last);
void bottleneck_project(const BottleneckParts& of, const fuseline_bottleneck& bottleneck, void* scratch, int64_t image, int64_t first,
                        int64_t last);

}  // namespace fuseline
