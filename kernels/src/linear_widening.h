// Linear layers of few inputs and many outputs in 8 bits that end in ReLU6, as inverted bottlenecks begin with. There what is done
// with each sum takes as long as adding it up, so it is done in registers.
#pragma once

#include "linear_blocks.h"

namespace fuseline {
namespace {

template <class Simd, int R, int B>
inline void widening_tile(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  const int64_t quads = x.padded / 4, size = quads * 64;
  const uint8_t* w = static_cast<const uint8_t*>(l.weight) + block * size;
  const int8_t* a = x.codes + row * x.padded;
  typename Simd::Sums sums[R][B];
  repeat<R>([&](int r) { repeat<B>([&](int b) { sums[r][b] = Simd::start(x.sums[row + r]); }); });
  for (int64_t q = 0; q < quads; ++q) {
    typename Simd::Weights weights[B];
    repeat<B>([&](int b) { weights[b] = Simd::load(w + b * size + q * 64); });
    repeat<R>([&](int r) {
      const auto inputs = Simd::inputs(a + r * x.padded + q * 4);
      repeat<B>([&](int b) { sums[r][b] = Simd::dot(sums[r][b], weights[b], inputs); });
    });
  }
  repeat<B>([&](int b) {
    const int64_t first = (block + b) * kBlockOutputs, n = l.outputs - first;
    const Vector scale = load(static_cast<const float*>(l.scale) + first, n), bias = load(l.bias + first, n);
    repeat<R>([&](int r) {
      const Vector y = fused(Simd::to_float(sums[r][b]) * x.scales[row + r], scale, bias);
      store(l.y + (row + r) * l.outputs + first, relu6(y), n);
    });
  });
}

template <class Simd, int R, int B>
inline void widening_rows(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  for (; row + R <= l.rows; row += R) widening_tile<Simd, R, B>(l, x, row, block);
  if constexpr (R > 1) widening_rows<Simd, R / 2, B>(l, x, row, block);
}

// All outputs of all rows, which are prepared.
template <class Simd>
inline void widened(const fuseline_linear& l, const Prepared& x) {
  const int64_t blocks = (l.outputs + kBlockOutputs - 1) / kBlockOutputs;
  int64_t block = 0;
  for (; block + Simd::kBlocks <= blocks; block += Simd::kBlocks) widening_rows<Simd, Simd::kRows, Simd::kBlocks>(l, x, 0, block);
  for (; block < blocks; ++block) widening_rows<Simd, Simd::kRows, 1>(l, x, 0, block);
}

}  // namespace
}  // namespace fuseline
