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

// A row of windows: the rows of x from `top` on of which the image has [low, high).
struct Windows {
  const float* row[kMostKernel];
  int64_t low, high;
};

// Of what comes out: the part from 0 to 6, as one of 127 steps. NaN becomes zero.
inline Integers active_code(Vector x) {
  x = smaller(larger(x, Vector{}), splat(kMostActive));
  return bits_of(x * (kActiveSteps / kMostActive) + 12582912.0f) - 0x4b400000;
}

// Whole numbers below 2^22 of four positions, added up.
inline void put_sums(const Integers (&totals)[4], int32_t* into) {
  Vector each[4];
  repeat<4>([&](int i) { each[i] = floats_of(totals[i] + 0x4b400000) - 12582912.0f; });
  float found[4];
  sums(each, found);
  for (int i = 0; i < 4; ++i) into[i] = static_cast<int32_t>(found[i]);
}
template <int J>
inline void put_sums(const Integers (&totals)[J], int32_t* into) {
  for (int j = 0; j < J; ++j) into[j] = sum_of(totals[j]);
}

// In a register, where there are enough of them: GCC 12 would load it again for each product.
inline void keep([[maybe_unused]] Vector& v) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(v));
#endif
}

// 16 channels of J neighbouring windows. edge: whether the image does not have all their columns.
template <int kKernel, int kStride, int J, bool edge>
FUSELINE_FLAT inline void windows_channels(const fuseline_bottleneck& b, const Windows& w, int64_t column, int64_t channel,
                                                      Vector* sums) {
  const Vector bias = load(b.depthwise_bias + channel);
  Vector total[J];
  repeat<J>([&](int j) { total[j] = bias; });
  for (int64_t y = w.low; y < w.high; ++y) {
    const float* from = b.depthwise + y * kKernel * b.middle + channel;
    Vector weights[kKernel];
    repeat<kKernel>([&](int k) { weights[k] = load(from + k * b.middle); });
    const float* x = w.row[y] + column * b.middle + channel;
    repeat<(J - 1) * kStride + kKernel>([&](int i) {
      if (edge && (column + i < 0 || column + i >= b.width)) return;
      Vector input = load(x + i * b.middle);
      keep(input);
      repeat<J>([&](int j) {
        if (i >= j * kStride && i < j * kStride + kKernel) total[j] = fused(input, weights[i - j * kStride], total[j]);
      });
    });
  }
  repeat<J>([&](int j) { sums[j] = total[j]; });
}

// Of whole sixteens of channels. column: the first of x that the first window covers; position: where the first result goes.
template <int kKernel, int kStride, int J, bool edge>
inline void windows(const fuseline_bottleneck& b, const Windows& w, int64_t column, int64_t position, const Prepared& into) {
  Integers totals[J] = {};
  for (int64_t channel = 0; channel < b.middle; channel += kLanes) {
    Vector found[J];
    windows_channels<kKernel, kStride, J, edge>(b, w, column, channel, found);
    repeat<J>([&](int j) {
      const Integers codes = active_code(found[j]);
      write_bytes(into.codes + (position + j) * into.padded + channel, codes);
      totals[j] += codes;
    });
  }
  put_sums(totals, into.sums + position);
}

template <int kKernel, int kStride, int J>
inline void windows(const fuseline_bottleneck& b, const Windows& w, int64_t column, int64_t position, const Prepared& into) {
  if (column < 0 || column + (J - 1) * kStride + kKernel > b.width)
    windows<kKernel, kStride, J, true>(b, w, column, position, into);
  else
    windows<kKernel, kStride, J, false>(b, w, column, position, into);
}

// The windows [from, to) of a row, four at a time; where the last are not so many some are computed again.
template <int kKernel, int kStride>
inline void windows_of_row(const fuseline_bottleneck& b, const Windows& w, int64_t before, int64_t from, int64_t to, int64_t position,
                           const Prepared& into) {
  const auto at = [&](int64_t window) { return window * kStride - before; };
  if (to - from < 4) {
    for (int64_t i = from; i < to; ++i) windows<kKernel, kStride, 1>(b, w, at(i), position + i - from, into);
    return;
  }
  for (int64_t i = from; i < to; i += 4) {
    const int64_t first = i < to - 4 ? i : to - 4;
    windows<kKernel, kStride, 4>(b, w, at(first), position + first - from, into);
  }
}

// The same of any kernel, stride and number of channels.
inline void any_windows_of_row(const fuseline_bottleneck& b, const Windows& w, int64_t before, int64_t from, int64_t to,
                               int64_t position, const Prepared& into) {
  for (; from < to; ++from, ++position) {
    const int64_t column = from * b.stride - before, left = column < 0 ? -column : 0;
    const int64_t right = column + b.kernel > b.width ? b.width - column : b.kernel;
    Integers all{};
    for (int64_t channel = 0; channel < b.middle; channel += kLanes) {
      const int64_t n = b.middle - channel;
      Vector total = load(b.depthwise_bias + channel, n);
      for (int64_t y = w.low; y < w.high; ++y)
        for (int64_t k = left; k < right; ++k) {
          const Vector weight = load(b.depthwise + (y * b.kernel + k) * b.middle + channel, n);
          total = fused(load(w.row[y] + (column + k) * b.middle + channel, n), weight, total);
        }
      const Integers codes = active_code(total);
      store_bytes(into.codes + position * into.padded + channel, codes, into.padded - channel);
      all += codes;
    }
    into.sums[position] = sum_of(all);
  }
}

inline void depthwise_results(const fuseline_bottleneck& b, const Rows& rows, int64_t first, int64_t last, const Prepared& into) {
  const Side down(b.height, b.kernel, b.stride), across(b.width, b.kernel, b.stride);
  for (int64_t at = first; at < last;) {
    const int64_t row = at / across.results, from = at % across.results, top = row * b.stride - down.before;
    const int64_t to = from + last - at < across.results ? from + last - at : across.results;
    Windows w;
    w.low = top < 0 ? -top : 0;
    w.high = top + b.kernel < b.height ? b.kernel : b.height - top;
    for (int64_t y = w.low; y < w.high; ++y) w.row[y] = rows.at(top + y);
    const auto compute = b.middle % kLanes != 0           ? any_windows_of_row
                         : b.kernel == 3 && b.stride == 1 ? windows_of_row<3, 1>
                         : b.kernel == 3 && b.stride == 2 ? windows_of_row<3, 2>
                         : b.kernel == 5 && b.stride == 1 ? windows_of_row<5, 1>
                         : b.kernel == 5 && b.stride == 2 ? windows_of_row<5, 2>
                                                          : any_windows_of_row;
    compute(b, w, across.before, from, to, at - first, into);
    at += to - from;
  }
  for (int64_t i = 0; i < last - first; ++i) into.scales[i] = kMostActive / kActiveSteps;
}

}  // namespace
}  // namespace fuseline
