// What convolutions are to the instruction sets, and how an inverted bottleneck goes through an image.
#pragma once

#include "fuseline_kernels.h"
#include "linear.h"

namespace fuseline {

constexpr int64_t kMostKernel = 15;          // rows of a convolution's window
constexpr float kMostActive = 6;             // of ReLU6
constexpr float kActiveSteps = 127;          // of a bottleneck's second layer, from 0 to kMostActive

// The zeros of SAME padding along one side, and the results that there are.
struct Side {
  int64_t results, before;

  Side(int64_t size, int64_t kernel, int64_t stride) : results((size + stride - 1) / stride) {
    const int64_t zeros = (results - 1) * stride + kernel - size;
    before = zeros > 0 ? zeros / 2 : 0;
  }
};

// Rows of an image with all channels of its positions, of which as many as `ring` are there at a time: a row is where the one
// was that lies `ring` rows above it.
struct Rows {
  const float* first;
  int64_t ring, size;

  const float* at(int64_t row) const { return first + row % ring * size; }
};

// A run of rows of results of one image. The rows of x that no band before has read are [expand_first, expand_last).
struct Band {
  int64_t image, first, last;
  int64_t expand_first, expand_last;
};

// The rows [first, last) of images * rows.
typedef void Convolution(const fuseline_convolution& convolution, int64_t first, int64_t last, float* scratch);
// The results [first, last) of the convolution of an image's rows, counted row by row, as the codes of the layer that follows;
// those of `first` come first.
typedef void Depthwise(const fuseline_bottleneck& bottleneck, const Rows& rows, int64_t first, int64_t last, const Prepared& into);

Convolution convolution_scalar, convolution_avx2, convolution_avx512, convolution_neon;
Depthwise depthwise_scalar, depthwise_avx2, depthwise_avx512, depthwise_neon;

// The functions of an instruction set that a bottleneck is made of.
struct BottleneckParts {
  PrepareRows* prepare_rows;
  LinearBlocks *widen, *narrow;
  Depthwise* depthwise;
};

void bottleneck_expand(const BottleneckParts& of, const fuseline_bottleneck& bottleneck, void* scratch, int64_t band, int64_t first,
                       int64_t last);
void bottleneck_project(const BottleneckParts& of, const fuseline_bottleneck& bottleneck, void* scratch, int64_t band, int64_t first,
                        int64_t last);

}  // namespace fuseline
