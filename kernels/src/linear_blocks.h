// The algorithm of linear layers, over the integer products of one instruction set.
//
// A block of 16 outputs is worked on for a few rows at a time, with their sums in registers, so that each weight is read
// from memory once and from the nearest cache for every further few rows. `Simd` is an instruction set's vocabulary:
//   Sums                       16 sums of int32
//   kRows, kBlocks             rows and blocks whose sums fit the registers together
//   start(sum)                 what sums over 8-bit codes start from, for a row whose activations sum up to `sum`
//   splat(n), to_float(sums)
//   Weights, load(p)           64 codes of 8 bits with zero point 128: of 16 outputs 4 inputs each
//   Inputs, inputs(p)          4 activations, for all outputs
//   dot(sums, weights, inputs)
//   dot4<n>(sums[n], w, a, stride)   the same over 32 inputs in 4 bits (w: 256 bytes, codes 0 to 15) for n rows of
//                                    activations, `stride` bytes apart
#pragma once

#include "linear.h"
#include "vectors.h"

namespace fuseline {
namespace {

// How far ahead weights are asked for, in bytes: the CPU's own prefetching stops at every page of 4 kB. On a CPU with VNNI
// a step of ViT-GPT2 with 4 beams takes 6.9 ms in 8 bits with it and 8.1 without, 5.4 and 7.2 in 4 bits
// (benchmarks/decoder_step.py).
constexpr int64_t kAhead = 4096;

inline Vector activate(Vector x, int32_t activation) {
  switch (activation) {
    case FUSELINE_RELU: return select(x < Vector{}, Vector{}, x);
    case FUSELINE_GELU: return 0.5f * x * (1.0f + error_function(x * 0.707106781f));
    case FUSELINE_GELU_TANH: return x * sigmoid(1.59576912f * (x + 0.044715f * x * x * x));
    case FUSELINE_QUICK_GELU: return x * sigmoid(1.702f * x);
    default: return x;
  }
}

// Bias, activation and residual of one row of one block, and out with it.
inline void finish(const fuseline_linear& l, int64_t row, int64_t block, Vector y) {
  const int64_t first = block * kBlockOutputs, n = l.outputs - first;
  y = activate(y + load(l.bias + first, n), l.activation);
  const int64_t at = row * l.outputs + first;
  if (l.residual != nullptr) y += load(l.residual + at, n);
  store(l.y + at, y, n);
}

template <class Simd, int R, int B>
inline void int8_tile(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  const int64_t quads = x.padded / 4, size = quads * 64;
  const uint8_t* w = static_cast<const uint8_t*>(l.weight) + block * size;
  const int8_t* a = x.codes + row * x.padded;
  typename Simd::Sums sums[R][B];
  repeat<R>([&](int r) { repeat<B>([&](int b) { sums[r][b] = Simd::start(x.sums[row + r]); }); });
  for (int64_t q = 0; q < quads; ++q) {
    typename Simd::Weights weights[B];
    repeat<B>([&](int b) {
      weights[b] = Simd::load(w + b * size + q * 64);
      __builtin_prefetch(w + b * size + q * 64 + kAhead);
    });
    repeat<R>([&](int r) {
      const auto inputs = Simd::inputs(a + r * x.padded + q * 4);
      repeat<B>([&](int b) { sums[r][b] = Simd::dot(sums[r][b], weights[b], inputs); });
    });
  }
  repeat<B>([&](int b) {
    const int64_t first = (block + b) * kBlockOutputs;
    const Vector scale = load(static_cast<const float*>(l.scale) + first, l.outputs - first);
    repeat<R>([&](int r) { finish(l, row + r, block + b, Simd::to_float(sums[r][b]) * x.scales[row + r] * scale); });
  });
}

template <class Simd, int R, int B>
inline void int4_tile(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  const int64_t group = x.padded / x.groups;
  for (int b = 0; b < B; ++b) {
    const uint8_t* w = static_cast<const uint8_t*>(l.weight) + (block + b) * x.padded * (kBlockOutputs / 2);
    const uint16_t* scale = static_cast<const uint16_t*>(l.scale) + (block + b) * x.groups * kBlockOutputs;
    const int8_t* a = x.codes + row * x.padded;
    Vector y[R] = {};
    for (int64_t g = 0; g < x.groups; ++g) {
      typename Simd::Sums sums[R];
      repeat<R>([&](int r) { sums[r] = Simd::splat(-8 * x.sums[(row + r) * x.groups + g]); });
      for (int64_t i = 0; i < group; i += 32, w += 256, a += 32) {
        for (int line = 0; line < 256; line += 64) __builtin_prefetch(w + line + kAhead);
        Simd::template dot4<R>(sums, w, a, x.padded);
      }
      const Vector s = load_half(scale + g * kBlockOutputs);
      repeat<R>([&](int r) { y[r] += Simd::to_float(sums[r]) * s; });
    }
    repeat<R>([&](int r) { finish(l, row + r, block + b, y[r] * x.scales[row + r]); });
  }
}

inline Vector load_weights(const float* p) { return load(p); }
inline Vector load_weights(const uint16_t* p) { return load_half(p); }

template <class Weight, int R, int B>
inline void float_tile(const fuseline_linear& l, int64_t row, int64_t block) {
  const int64_t size = l.inputs * kBlockOutputs;
  const Weight* w = static_cast<const Weight*>(l.weight) + block * size;
  const float* x = l.x + row * l.inputs;
  Vector y[R][B] = {};
  for (int64_t i = 0; i < l.inputs; ++i) {
    Vector weights[B];
    repeat<B>([&](int b) {
      const Weight* here = w + b * size + i * kBlockOutputs;
      weights[b] = load_weights(here);
      __builtin_prefetch(reinterpret_cast<const char*>(here) + kAhead);
    });
    repeat<R>([&](int r) {
      const Vector input = splat(x[r * l.inputs + i]);
      repeat<B>([&](int b) { y[r][b] += input * weights[b]; });
    });
  }
  repeat<R>([&](int r) { repeat<B>([&](int b) { finish(l, row + r, block + b, y[r][b]); }); });
}

template <class Simd, int R, int B>
inline void tile(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  switch (l.format) {
    case FUSELINE_INT8: return int8_tile<Simd, R, B>(l, x, row, block);
    case FUSELINE_INT4: return int4_tile<Simd, R, B>(l, x, row, block);
    case FUSELINE_HALF: return float_tile<uint16_t, R, B>(l, row, block);
    default: return float_tile<float, R, B>(l, row, block);
  }
}

// All rows of B blocks.
template <class Simd, int B>
inline void rows_of(const fuseline_linear& l, const Prepared& x, int64_t block) {
  int64_t row = 0;
  for (; row + Simd::kRows <= l.rows; row += Simd::kRows) tile<Simd, Simd::kRows, B>(l, x, row, block);
  for (; row + 2 <= l.rows; row += 2) tile<Simd, 2, B>(l, x, row, block);
  if (row < l.rows) tile<Simd, 1, B>(l, x, row, block);
}

template <class Simd>
inline void all_blocks(const fuseline_linear& l, const Prepared& x, int64_t first, int64_t last) {
  for (; first + Simd::kBlocks <= last; first += Simd::kBlocks) rows_of<Simd, Simd::kBlocks>(l, x, first);
  for (; first < last; ++first) rows_of<Simd, 1>(l, x, first);
}

// One row as kernels/bodies.py defines it: symmetric, 127 steps, halves to even; a row with NaN or infinity has the
// scale NaN, which its outputs inherit.
inline void quantize_row(const float* x, int64_t inputs, int8_t* codes, float* scale) {
  Vector sizes{}, broken{};
  for (int64_t i = 0; i < inputs; i += kLanes) {
    const Vector v = load(x + i, inputs - i), size = absolute(v);
    sizes = select(size > sizes, size, sizes);
    broken += v * 0.0f;
  }
  float step = largest(sizes) * (1.0f / 127.0f);
  step = step > 1e-30f ? step : 1e-30f;
  const Vector magic = splat(12582912.0f), low = splat(-127.0f), high = splat(127.0f);
  for (int64_t i = 0; i < inputs; i += kLanes) {
    Vector v = load(x + i, inputs - i) / step;
    v = select(v > low, v, low);  // NaN too
    v = select(v < high, v, high);
    int32_t whole[kLanes];
    write(whole, bits_of(v + magic) - 0x4b400000);
    int8_t narrow[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) narrow[lane] = static_cast<int8_t>(whole[lane]);
    memcpy(codes + i, narrow, static_cast<size_t>(inputs - i < kLanes ? inputs - i : kLanes));
  }
  *scale = step + sum(broken);
}

inline void all_rows_quantized(const fuseline_linear& l, const Prepared& into) {
  const int64_t group = into.padded / into.groups;
  for (int64_t r = 0; r < l.rows; ++r) {
    int8_t* codes = into.codes + r * into.padded;
    quantize_row(l.x + r * l.inputs, l.inputs, codes, into.scales + r);
    for (int64_t i = l.inputs; i < into.padded; ++i) codes[i] = 0;
    for (int64_t g = 0; g < into.groups; ++g) {
      int32_t total = 0;
      for (int64_t i = g * group; i < (g + 1) * group; ++i) total += codes[i];
      into.sums[r * into.groups + g] = total;
    }
  }
}

}  // namespace
}  // namespace fuseline
