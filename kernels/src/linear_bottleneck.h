// The two linear layers of inverted bottlenecks, in 8 bits. The first has few inputs and ends in ReLU6, the second few outputs; what
// is done with each sum takes a good part of the time, so it is done in registers, and of an instruction set's vocabulary
// (linear_blocks.h) there is one word more:
//   Active, active(p)              as Weights, load(p), to be multiplied by activations that are not negative
//   dot_active(sums, active, inputs)
#pragma once

#include "linear_blocks.h"

namespace fuseline {
namespace {

// Sums of R rows of B blocks; load and dot: of Simd.
template <class Simd, int R, int B, class Load, class Dot>
inline void add_up_tile(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block, const Load& load, const Dot& dot,
                        typename Simd::Sums (&sums)[R][B]) {
  const int64_t quads = x.padded / 4, size = quads * 64;
  const uint8_t* w = static_cast<const uint8_t*>(l.weight) + block * size;
  const int8_t* a = x.codes + row * x.padded;
  repeat<R>([&](int r) { repeat<B>([&](int b) { sums[r][b] = Simd::start(x.sums[row + r]); }); });
  for (int64_t q = 0; q < quads; ++q) {
    decltype(load(w)) weights[B];
    const int64_t ahead = after<B>(q * 64, size);
    repeat<B>([&](int b) {
      weights[b] = load(w + b * size + q * 64);
      __builtin_prefetch(w + b * size + ahead);
    });
    repeat<R>([&](int r) {
      const auto inputs = Simd::inputs(a + r * x.padded + q * 4);
      repeat<B>([&](int b) { sums[r][b] = dot(sums[r][b], weights[b], inputs); });
    });
  }
}

// Of the first layer.
struct Widening {
  template <class Simd, int R, int B>
  FUSELINE_FLAT static void tile(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
    typename Simd::Sums sums[R][B];
    add_up_tile<Simd, R, B>(
        l, x, row, block, [](const uint8_t* p) { return Simd::load(p); },
        [](auto s, const auto& w, const auto& a) { return Simd::dot(s, w, a); }, sums);
    repeat<B>([&](int b) {
      const int64_t first = (block + b) * kBlockOutputs, n = l.outputs - first;
      const Vector scale = load(static_cast<const float*>(l.scale) + first, n), bias = load(l.bias + first, n);
      repeat<R>([&](int r) {
        const Vector y = fused(Simd::to_float(sums[r][b]) * x.scales[row + r], scale, bias);
        store(l.y + (row + r) * l.outputs + first, relu6(y), n);
      });
    });
  }
};

// Of the second layer, which may have a residual.
struct Narrowing {
  template <class Simd, int R, int B>
  FUSELINE_FLAT static void tile(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
    typename Simd::Sums sums[R][B];
    add_up_tile<Simd, R, B>(
        l, x, row, block, [](const uint8_t* p) { return Simd::active(p); },
        [](auto s, const auto& w, const auto& a) { return Simd::dot_active(s, w, a); }, sums);
    repeat<B>([&](int b) {
      const int64_t first = (block + b) * kBlockOutputs, n = l.outputs - first;
      const Vector scale = load(static_cast<const float*>(l.scale) + first, n), bias = load(l.bias + first, n);
      repeat<R>([&](int r) {
        const int64_t at = (row + r) * l.outputs + first;
        Vector y = fused(Simd::to_float(sums[r][b]) * x.scales[row + r], scale, bias);
        if (l.residual != nullptr) y += load(l.residual + at, n);
        store(l.y + at, y, n);
      });
    });
  }
};

template <class Layer, class Simd, int R, int B>
inline void bottleneck_rows(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  for (; row + R <= l.rows; row += R) Layer::template tile<Simd, R, B>(l, x, row, block);
  if constexpr (R > 1) bottleneck_rows<Layer, Simd, R / 2, B>(l, x, row, block);
}

template <class Layer, class Simd>
inline void bottleneck_blocks(const fuseline_linear& l, const Prepared& x, int64_t first, int64_t last) {
  for (; first + Simd::kBlocks <= last; first += Simd::kBlocks)
    bottleneck_rows<Layer, Simd, Simd::kRows, Simd::kBlocks>(l, x, 0, first);
  for (; first < last; ++first) bottleneck_rows<Layer, Simd, Simd::kRows, 1>(l, x, 0, first);
}

}  // namespace
}  // namespace fuseline
