// The algorithm of linear layers, over the integer products of one instruction set.
//
// A block of 16 outputs is worked on for a few rows at a time, with their sums in registers, so that each weight is read
// from memory once and from the nearest cache for every further few rows. `Simd` is an instruction set's vocabulary:
//   Sums                       16 sums of int32
//   kRows, kBlocks             rows and blocks whose sums fit the registers together, of which a few rows are made up well
//   kCodeRows, kFloatRows      as many rows of that many blocks as fit, in 8 bits and of float32
//   start(sum)                 what sums over 8-bit codes start from, for a row whose activations sum up to `sum`
//   splat(n), to_float(sums)
//   Weights, load(p)           64 codes of 8 bits with zero point 128: of 16 outputs 4 inputs each
//   Inputs, inputs(p)          4 activations, for all outputs
//   dot(sums, weights, inputs)
//   dot4<n>(sums[n], w, a, stride)   the same over 32 inputs in 4 bits (w: 256 bytes, codes 0 to 15) for n rows of
//                                    activations, `stride` bytes apart
//   kGroups                    whether codes of many rows lie in groups of kCodeRows, see linear_many.h
//   kPairs                     whether bfloat16 is multiplied in pairs of inputs; then only
//   pair(p), add_pairs(pair, weights, sums)   a pair of activations for all outputs, and their products added up
#pragma once

#include "gelu.h"
#include "linear.h"
#include "vectors.h"

namespace fuseline {
namespace {

// How far ahead weights are asked for, in bytes: the CPU's own prefetching stops at every page of 4 kB. On a CPU with VNNI
// a step of ViT-GPT2 with 4 beams takes 6.9 ms in 8 bits with it and 8.1 without, 5.4 and 7.2 in 4 bits
// (benchmarks/decoder_step.py).
constexpr int64_t kAhead = 4096;

// Where, from the start of a block of `size` bytes, to ask for what is kAhead bytes after `at`: B blocks are read side by
// side, and what comes after the end of one is B blocks on.
template <int B>
inline int64_t after(int64_t at, int64_t size) {
  const int64_t ahead = at + kAhead;
  return ahead < size ? ahead : ahead + (B - 1) * size;
}

// Calls use(f) with the function of an activation.
template <class Use>
inline void with_activation(int32_t activation, const Use& use) {
  switch (activation) {
    case FUSELINE_RELU: return use([](Vector x) { return select(x < Vector{}, Vector{}, x); });
    case FUSELINE_GELU: return use([](Vector x) { return gelu(x); });
    case FUSELINE_GELU_TANH: return use([](Vector x) { return x * sigmoid(1.59576912f * fused(x * x * x, 0.044715f, x)); });
    case FUSELINE_QUICK_GELU: return use([](Vector x) { return x * sigmoid(1.702f * x); });
    case FUSELINE_SILU: return use([](Vector x) { return x * sigmoid(x); });
    case FUSELINE_RELU6: return use([](Vector x) { return relu6(x); });
    default: return use([](Vector x) { return x; });
  }
}

// What a tile's products come to, [rows][B][16]. They lie in memory here: as registers handed on, GCC 12 keeps some of them on the
// stack already while they are summed up, and a step in fp16 with AVX2 takes 1.6 times as long.
template <int R, int B>
struct Tile {
  float of[R][B][kLanes];
};

// Bias, activation, factor and residual of `rows` rows of B blocks, and out with them. Not inlined: all formats share it, which
// halves the library.
template <int B>
__attribute__((noinline)) void finish(const fuseline_linear& l, int64_t row, int64_t rows, int64_t block, const float* products) {
  for (int b = 0; b < B; ++b) {
    const int64_t first = (block + b) * kBlockOutputs, n = l.outputs - first;
    const Vector bias = load(l.bias + first, n);
    const auto each = [&](const auto& activated) {
      for (int64_t r = 0; r < rows; ++r) {
        Vector y = activated(load(products + (r * B + b) * kLanes) + bias);
        const int64_t at = (row + r) * l.outputs + first;
        if (l.factor != nullptr) y = y * load(l.factor + at, n);
        if (l.residual != nullptr) y += load(l.residual + at, n);
        store(l.y + at, y, n);
      }
    };
    with_activation(l.activation, each);
  }
}

// Whether nothing but the bias and perhaps a residual is left to do, of B whole blocks.
template <int B>
inline bool is_plain(const fuseline_linear& l, int64_t block) {
  return l.activation == FUSELINE_NO_ACTIVATION && l.factor == nullptr && (block + B) * kBlockOutputs <= l.outputs;
}

// The same of R rows for what is plain.
template <int R, int B>
inline void finish_plain(const fuseline_linear& l, int64_t row, int64_t block, const float* products) {
  const int64_t first = block * kBlockOutputs;
  float* y = l.y + row * l.outputs + first;
  const float* residual = l.residual == nullptr ? nullptr : l.residual + row * l.outputs + first;
  Vector bias[B];
  repeat<B>([&](int b) { bias[b] = load(l.bias + first + b * kBlockOutputs); });
  for (int r = 0; r < R; ++r, y += l.outputs, products += B * kLanes) {
    Vector v[B];
    repeat<B>([&](int b) { v[b] = load(products + b * kLanes) + bias[b]; });
    if (residual != nullptr) {
      repeat<B>([&](int b) { v[b] += load(residual + b * kLanes); });
      residual += l.outputs;
    }
    repeat<B>([&](int b) { write(y + b * kLanes, v[b]); });
  }
}

// Asks for what some rows of B blocks will be written to and added: a row's outputs are far from the next row's, and each would be
// waited for.
template <int B>
inline void expect(const fuseline_linear& l, int64_t row, int64_t rows, int64_t block) {
  for (int64_t r = row; r < row + rows; ++r)
    for (int b = 0; b < B; ++b) {
      const int64_t at = r * l.outputs + (block + b) * kBlockOutputs;
      __builtin_prefetch(l.y + at, 1);
      if (l.residual != nullptr) __builtin_prefetch(l.residual + at);
    }
}

// The same in 8 bits, of whole(r, b), the sums over codes of 16 outputs.
template <int R, int B, class Whole>
inline void scale_and_finish(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block, const Whole& whole) {
  const auto plain = [&](const auto& added) {
    repeat<B>([&](int b) {
      const int64_t first = (block + b) * kBlockOutputs;
      const Vector scale = load(static_cast<const float*>(l.scale) + first), bias = load(l.bias + first);
      repeat<R>([&](int r) {
        const int64_t at = (row + r) * l.outputs + first;
        write(l.y + at, added(whole(r, b) * x.scales[row + r] * scale + bias, at));
      });
    });
  };
  if (is_plain<B>(l, block) && l.residual == nullptr) return plain([](Vector y, int64_t) { return y; });
  if (is_plain<B>(l, block)) return plain([&](Vector y, int64_t at) { return y + load(l.residual + at); });
  Tile<R, B> products;
  repeat<B>([&](int b) {
    const int64_t first = (block + b) * kBlockOutputs;
    const Vector scale = load(static_cast<const float*>(l.scale) + first, l.outputs - first);
    repeat<R>([&](int r) { write(products.of[r][b], whole(r, b) * x.scales[row + r] * scale); });
  });
  finish<B>(l, row, R, block, products.of[0][0]);
}

// resident: the weights are in a cache already.
template <class Simd, int R, int B, bool resident>
FUSELINE_FLAT inline void int8_tile(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  const int64_t quads = x.padded / 4, size = quads * 64;
  const uint8_t* w = static_cast<const uint8_t*>(l.weight) + block * size;
  const int8_t* a = x.codes + row * x.padded;
  typename Simd::Sums sums[R][B];
  repeat<R>([&](int r) { repeat<B>([&](int b) { sums[r][b] = Simd::start(x.sums[row + r]); }); });
  if constexpr (resident) expect<B>(l, row, R, block);
  for (int64_t q = 0; q < quads; ++q) {
    typename Simd::Weights weights[B];
    const int64_t ahead = after<B>(q * 64, size);
    repeat<B>([&](int b) {
      weights[b] = Simd::load(w + b * size + q * 64);
      if constexpr (!resident) __builtin_prefetch(w + b * size + ahead);
    });
    repeat<R>([&](int r) {
      const auto inputs = Simd::inputs(a + r * x.padded + q * 4);
      repeat<B>([&](int b) { sums[r][b] = Simd::dot(sums[r][b], weights[b], inputs); });
    });
  }
  scale_and_finish<R, B>(l, x, row, block, [&](int r, int b) { return Simd::to_float(sums[r][b]); });
}

template <class Simd, int R, int B>
FUSELINE_FLAT inline void int4_tile(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
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
      repeat<R>([&](int r) { y[r] = fused(Simd::to_float(sums[r]), s, y[r]); });
    }
    Tile<R, 1> products;
    repeat<R>([&](int r) { write(products.of[r][0], y[r] * x.scales[row + r]); });
    finish<1>(l, row, R, block + b, products.of[0][0]);
  }
}

template <class Weight, int R, int B>
FUSELINE_FLAT inline void float_tile(const fuseline_linear& l, int64_t row, int64_t block) {
  const int64_t size = l.inputs * kBlockOutputs;
  const Weight* w = static_cast<const Weight*>(l.weight) + block * size;
  const float* x = l.x + row * l.inputs;
  Vector y[R][B] = {};
  constexpr int64_t kBytes = sizeof(Weight);
  for (int64_t i = 0; i < l.inputs; ++i) {
    Vector weights[B];
    const int64_t ahead = after<B>(i * kBlockOutputs * kBytes, size * kBytes);
    repeat<B>([&](int b) {
      const Weight* block_b = w + b * size;
      weights[b] = load(block_b + i * kBlockOutputs);
      __builtin_prefetch(reinterpret_cast<const char*>(block_b) + ahead);
    });
    repeat<R>([&](int r) {
      const Vector input = splat(x[r * l.inputs + i]);
      repeat<B>([&](int b) { y[r][b] = fused(input, weights[b], y[r][b]); });
    });
  }
  Tile<R, B> products;
  repeat<R>([&](int r) { repeat<B>([&](int b) { write(products.of[r][b], y[r][b]); }); });
  finish<B>(l, row, R, block, products.of[0][0]);
}

// In bfloat16: of a pair of inputs both products are added at once, or the first one's and then the second one's.
template <class Simd, int R, int B>
FUSELINE_FLAT inline void bfloat16_tile(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  const int64_t pairs = l.padded / 2, size = pairs * kBlockOutputs, columns = Simd::kPairs ? pairs : l.padded;
  const float* w = static_cast<const float*>(l.weight) + block * size;
  const float* a = x.floats + row * columns;
  Vector y[R][B] = {};
  for (int64_t p = 0; p < pairs; ++p) {
    Vector weights[B];
    const int64_t ahead = after<B>(p * 64, size * 4);
    repeat<B>([&](int b) {
      weights[b] = load(w + b * size + p * kBlockOutputs);
      __builtin_prefetch(reinterpret_cast<const char*>(w + b * size) + ahead);
    });
    if constexpr (Simd::kPairs) {
      repeat<R>([&](int r) {
        const Vector inputs = Simd::pair(a + r * columns + p);
        repeat<B>([&](int b) { y[r][b] = Simd::add_pairs(inputs, weights[b], y[r][b]); });
      });
    } else {
      Vector first[B], second[B];
      repeat<B>([&](int b) { first[b] = first_of_pairs(weights[b]); });
      repeat<B>([&](int b) { second[b] = second_of_pairs(weights[b]); });
      repeat<R>([&](int r) {
        const Vector input = splat(a[r * columns + 2 * p]), next = splat(a[r * columns + 2 * p + 1]);
        repeat<B>([&](int b) { y[r][b] = fused(next, second[b], fused(input, first[b], y[r][b])); });
      });
    }
  }
  Tile<R, B> products;
  repeat<R>([&](int r) { repeat<B>([&](int b) { write(products.of[r][b], y[r][b]); }); });
  finish<B>(l, row, R, block, products.of[0][0]);
}

template <class Simd, int R, int B>
inline void tile(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  if constexpr (Simd::kPairs) {
    bfloat16_tile<Simd, R, B>(l, x, row, block);
  } else {
    switch (l.format) {
      case FUSELINE_INT8: return int8_tile<Simd, R, B, false>(l, x, row, block);
      case FUSELINE_INT4: return int4_tile<Simd, R, B>(l, x, row, block);
      case FUSELINE_HALF: return float_tile<uint16_t, R, B>(l, row, block);
      case FUSELINE_BFLOAT16: return bfloat16_tile<Simd, R, B>(l, x, row, block);
      default: return float_tile<float, R, B>(l, row, block);
    }
  }
}

// The rows from `row` on of B blocks, R at a time, and what is left in halves of that.
template <class Simd, int R, int B>
inline void rows_of(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  for (; row + R <= l.rows; row += R) tile<Simd, R, B>(l, x, row, block);
  if constexpr (R > 1) rows_of<Simd, R / 2, B>(l, x, row, block);
}

// To codes. A product is faster than a quotient and rounds to the same number unless it is as near to another: of at most 127
// it is within 3e-5 of the quotient.
inline Integers quantized(Vector x, float step, float inverse) {
  const Vector quick = x * inverse;
  Vector whole = quick + 12582912.0f;
  if (any(absolute(quick - (whole - 12582912.0f)) > 0.49996f)) whole = x / step + 12582912.0f;
  return bits_of(whole) - 0x4b400000;
}

// The scale of a row, NaN where it has NaN or infinity.
inline float step_of(const float* x, int64_t inputs) {
  Integers sizes{};  // without their signs, numbers are in the order of their bits; behind them come infinity and NaN
  const int64_t whole = inputs / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) sizes = larger(bits_of(load(x + i)) & 0x7fffffff, sizes);
  if (whole < inputs) sizes = larger(bits_of(load(x + whole, inputs - whole)) & 0x7fffffff, sizes);
  const int32_t most = largest(sizes);
  if (most >= 0x7f800000) return __builtin_nanf("");
  float step;
  memcpy(&step, &most, sizeof step);
  step *= 1.0f / 127.0f;
  return step > 1e-30f ? step : 1e-30f;
}

// One row as kernels/bodies.py defines it: symmetric, 127 steps, halves to even; a row with NaN or infinity has the
// scale NaN, which its outputs inherit. Inputs that only the weights have are zeros.
inline void quantize_row(const float* x, int64_t inputs, int64_t padded, int64_t groups, int8_t* codes, int32_t* sums,
                         float* scale) {
  const float step = step_of(x, inputs);
  if (step != step) {
    memset(codes, 0, static_cast<size_t>(padded));
    memset(sums, 0, static_cast<size_t>(groups) * sizeof(int32_t));
    *scale = step;
    return;
  }
  const int64_t whole = inputs / kLanes * kLanes;
  const float inverse = 1.0f / step;
  const int64_t group = padded / groups;
  for (int64_t g = 0; g < groups; ++g) {
    Integers total{};  // here, since bytes just written cannot be read back at once in other widths
    const int64_t end = (g + 1) * group, whole_end = end < whole ? end : whole;
    int64_t i = g * group;
    for (; i + kLanes <= whole_end; i += kLanes) {
      const Integers code = quantized(load(x + i), step, inverse);
      write_bytes(codes + i, code);
      total += code;
    }
    for (; i < end; i += kLanes) {
      const Integers code = quantized(load(x + i, inputs > i ? inputs - i : 0), step, inverse);
      store_bytes(codes + i, code, end - i);
      total += code;
    }
    sums[g] = sum_of(total);
  }
  *scale = step;
}

}  // namespace
}  // namespace fuseline
