// The algorithms of convolutions, sixteen channels at a time.
#pragma once

#include "convolutions.h"
#include "vectors.h"

namespace fuseline {
namespace {

// Sixteen channels, or the n that there are.
template <bool whole>
inline Vector channels_at(const float* p, int64_t n) {
  return whole ? load(p) : load(p, n);
}

// --- from planes to rows of channels -------------------------------------------------------------------------------------

#if defined(__AVX512F__)
constexpr int kColumns = 8, kBlocks = 2;  // whose sums fit the registers together
#else
constexpr int kColumns = 4, kBlocks = 1;
#endif

// R columns from `column` on of B blocks of 16 outputs, which are there or of which the last has fewer. lines: the rows of all planes
// that the window covers, with the zeros around them, `size` numbers each.
template <int kStride, int R, int B, bool whole>
FUSELINE_FLAT inline void planes_tile(const fuseline_convolution& c, const float* lines, int64_t size, int64_t column, int64_t output,
                                      float* y) {
  const int64_t stride = kStride > 0 ? kStride : c.stride, n = c.outputs - output;
  Vector sums[R][B];
  repeat<B>([&](int b) {
    const Vector bias = channels_at<whole>(c.bias + output + b * kLanes, n - b * kLanes);
    repeat<R>([&](int r) { sums[r][b] = bias; });
  });
  const float* w = c.weight + output;
  for (int64_t line = 0; line < c.channels * c.kernel; ++line) {
    const float* x = lines + line * size + column * stride;
    for (int64_t k = 0; k < c.kernel; ++k, ++x, w += c.outputs) {
      Vector weights[B];
      repeat<B>([&](int b) { weights[b] = channels_at<whole>(w + b * kLanes, n - b * kLanes); });
      repeat<R>([&](int r) {
        const Vector input = splat(x[r * stride]);
        repeat<B>([&](int b) { sums[r][b] = fused(input, weights[b], sums[r][b]); });
      });
    }
  }
  repeat<R>([&](int r) {
    repeat<B>([&](int b) {
      float* const to = y + (column + r) * c.outputs + output + b * kLanes;
      store(to, relu6(sums[r][b]), whole ? kLanes : n - b * kLanes);
    });
  });
}

template <int kStride, int R>
inline void planes_columns(const fuseline_convolution& c, const float* lines, int64_t size, int64_t column, int64_t columns,
                           float* y) {
  for (; column + R <= columns; column += R) {
    int64_t output = 0;
    for (; output + kBlocks * kLanes <= c.outputs; output += kBlocks * kLanes)
      planes_tile<kStride, R, kBlocks, true>(c, lines, size, column, output, y);
    for (; output < c.outputs; output += kLanes) planes_tile<kStride, R, 1, false>(c, lines, size, column, output, y);
  }
  if constexpr (R > 1) planes_columns<kStride, R / 2>(c, lines, size, column, columns, y);
}

inline void planes_rows(const fuseline_convolution& c, int64_t first, int64_t last, float* lines) {
  const Side down(c.height, c.kernel, c.stride), across(c.width, c.kernel, c.stride);
  const int64_t size = c.width + c.kernel + c.stride, plane = c.height * c.width;
  memset(lines, 0, static_cast<size_t>(c.channels * c.kernel * size) * sizeof(float));
  for (int64_t job = first; job < last; ++job) {
    const float* x = c.x + job / down.results * c.channels * plane;
    const int64_t top = job % down.results * c.stride - down.before;
    for (int64_t line = 0; line < c.channels * c.kernel; ++line) {
      const int64_t row = top + line % c.kernel;
      float* to = lines + line * size + across.before;
      if (row >= 0 && row < c.height)
        memcpy(to, x + line / c.kernel * plane + row * c.width, static_cast<size_t>(c.width) * sizeof(float));
      else
        memset(to, 0, static_cast<size_t>(c.width) * sizeof(float));
    }
    float* const y = c.y + job * across.results * c.outputs;
    if (c.stride == 2)
      planes_columns<2, kColumns>(c, lines, size, 0, across.results, y);
    else
      planes_columns<0, kColumns>(c, lines, size, 0, across.results, y);
  }
}

// --- each channel alone ---------------------------------------------------------------------------------------------------

// Of what comes out: the part from 0 to 6, as one of 127 steps. NaN becomes zero.
inline Integers active_code(Vector x) {
  x = smaller(larger(x, Vector{}), splat(kMostActive));
  return bits_of(x * (kActiveSteps / kMostActive) + 12582912.0f) - 0x4b400000;
}

// In a register, where there are enough of them: GCC 12 would load it again for each product.
inline void keep([[maybe_unused]] Vector& v) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(v));
#endif
}

constexpr int64_t kPosition = kGroupBlocks * kLanes;  // floats from a position to the next

#if defined(__AVX512F__)
constexpr int kManyWindows = 8;  // whose sums are computed together
#else
constexpr int kManyWindows = 4;
#endif

// Where 16 channels of a row of windows lie, or the n that there are, and where their codes go.
struct Channels {
  const float* bias;
  const float* weights;
  int64_t n, next;     // next: from a weight to that of the next column
  int64_t block;       // of the group
  int8_t* codes;
  int64_t stride, room;  // room: codes that may be written of a position
};

// Of J neighbouring windows.
template <int kKernel, int kStride, int J, bool whole>
FUSELINE_FLAT inline void windows(const Windows& w, const Channels& c, int64_t window) {
  const Vector bias = channels_at<whole>(c.bias, c.n);
  Vector total[J];
  repeat<J>([&](int j) { total[j] = bias; });
  const int64_t from = window * kStride * kPosition + c.block * kLanes;
  for (int64_t y = w.low; y < w.high; ++y) {
    Vector weights[kKernel];
    repeat<kKernel>([&](int k) { weights[k] = channels_at<whole>(c.weights + (y * kKernel + k) * c.next, c.n); });
    const float* x = w.row[y] + from;
    repeat<(J - 1) * kStride + kKernel>([&](int i) {
      Vector input = load(x + i * kPosition);
      keep(input);
      repeat<J>([&](int j) {
        if (i >= j * kStride && i < j * kStride + kKernel) total[j] = fused(input, weights[i - j * kStride], total[j]);
      });
    });
  }
  repeat<J>([&](int j) {
    int8_t* const to = c.codes + (window + j) * c.stride;
    if (whole)
      write_bytes(to, active_code(total[j]));
    else
      store_bytes(to, active_code(total[j]), c.room);
  });
}

// J at a time; where the last are not so many some are computed again, and where there are not so many at all, fewer at a time.
template <int kKernel, int kStride, int J, bool whole>
inline void all_windows(const Windows& w, const Channels& c, int64_t count) {
  if constexpr (J > 1) {
    if (count < J) return all_windows<kKernel, kStride, (J > 4 ? 4 : 1), whole>(w, c, count);
  }
  for (int64_t i = 0; i < count; i += J) windows<kKernel, kStride, J, whole>(w, c, i < count - J ? i : count - J);
}

template <int kKernel, int kStride>
inline void windows_of_row(const fuseline_bottleneck&, const Windows& w, const Channels& c, int64_t count) {
  if (c.n >= kLanes) return all_windows<kKernel, kStride, kManyWindows, true>(w, c, count);
  all_windows<kKernel, kStride, 1, false>(w, c, count);
}

// The same of any kernel and stride.
inline void any_windows_of_row(const fuseline_bottleneck& b, const Windows& w, const Channels& c, int64_t count) {
  for (int64_t window = 0; window < count; ++window) {
    Vector total = load(c.bias, c.n);
    for (int64_t y = w.low; y < w.high; ++y) {
      const float* x = w.row[y] + window * b.stride * kPosition + c.block * kLanes;
      for (int64_t k = 0; k < b.kernel; ++k)
        total = fused(load(x + k * kPosition), load(c.weights + (y * b.kernel + k) * c.next, c.n), total);
    }
    store_bytes(c.codes + window * c.stride, active_code(total), c.room);
  }
}

inline void depthwise_row(const fuseline_bottleneck& b, const Windows& w, int64_t channel, int64_t blocks, int8_t* codes,
                          int64_t stride) {
  const int64_t count = Side(b.width, b.kernel, b.stride).results;
  const auto compute = b.kernel == 3 && b.stride == 1   ? windows_of_row<3, 1>
                       : b.kernel == 3 && b.stride == 2 ? windows_of_row<3, 2>
                       : b.kernel == 5 && b.stride == 1 ? windows_of_row<5, 1>
                       : b.kernel == 5 && b.stride == 2 ? windows_of_row<5, 2>
                                                        : any_windows_of_row;
  for (int64_t block = 0; block < blocks; ++block, channel += kLanes)
    compute(b, w,
            {b.depthwise_bias + channel, b.depthwise + channel, b.middle - channel, b.middle, block, codes + block * kLanes, stride,
             stride - channel},
            count);
}

}  // namespace
}  // namespace fuseline
