// The two linear layers of inverted bottlenecks, in 8 bits. The first has few inputs and ends in ReLU6, the second few outputs; what
// is done with each sum takes a good part of the time, so it is done in registers. Of an instruction set's vocabulary
// (linear_blocks.h) there are more words:
//   Active, active(p)              as Weights, load(p), to be multiplied by activations that are not negative
//   dot_active(sums, active, inputs)
// and First<Simd> is how the first layer multiplies its activations, which may be negative.
#pragma once

#include <type_traits>

#include "convolutions.h"
#include "linear_blocks.h"

namespace fuseline {
namespace {

// As other layers in 8 bits do, of activations that start(sum) need not know.
template <class Simd>
struct First {
  static constexpr int kRows = Simd::kRows;
  static typename Simd::Sums start(const uint8_t*, int64_t) { return Simd::splat(0); }
  static auto load(const uint8_t* p) { return Simd::load(p); }
  template <class Weights, class Inputs>
  static typename Simd::Sums dot(const typename Simd::Sums& sums, const Weights& w, const Inputs& a) {
    return Simd::dot(sums, w, a);
  }
};

template <class Simd>
struct Second {
  static constexpr int kRows = First<Simd>::kRows;
  static auto load(const uint8_t* p) { return Simd::active(p); }
  template <class Weights, class Inputs>
  static typename Simd::Sums dot(const typename Simd::Sums& sums, const Weights& w, const Inputs& a) {
    return Simd::dot_active(sums, w, a);
  }
};

// Products of R rows with B blocks, added to sums. w, a: the first block's weights and the first row's codes.
template <class Of, class Simd, int R, int B>
inline void add_up_tile(const uint8_t* w, const int8_t* a, int64_t padded, typename Simd::Sums (&sums)[R][B]) {
  const int64_t size = padded * kBlockOutputs;
  for (int64_t at = 0; at < size; at += 64, a += 4) {
    decltype(Of::load(w)) weights[B];
    const int64_t ahead = after<B>(at, size);
    repeat<B>([&](int b) {
      weights[b] = Of::load(w + b * size + at);
      __builtin_prefetch(w + b * size + ahead);
    });
    repeat<R>([&](int r) {
      const auto inputs = Simd::inputs(a + r * padded);
      repeat<B>([&](int b) { sums[r][b] = Of::dot(sums[r][b], weights[b], inputs); });
    });
  }
}

// All rows of some blocks, R at a time, then what is left in powers of two: tile(R, row) with the number R as a type.
template <int R, class Tile>
inline void by_rows(int64_t rows, int64_t row, const Tile& tile) {
  for (; row + R <= rows; row += R) tile(std::integral_constant<int, R>(), row);
  if constexpr (R > 1) by_rows<(R > 8 ? 8 : R / 2)>(rows, row, tile);
}

template <class Simd, int R, int B>
FUSELINE_FLAT inline void widen_tile(const fuseline_linear& l, const Prepared& x, const typename Simd::Sums (&start)[B], int64_t row,
                                     int64_t block, float* const* to, int64_t at) {
  typename Simd::Sums sums[R][B];
  repeat<R>([&](int r) { repeat<B>([&](int b) { sums[r][b] = start[b]; }); });
  const uint8_t* w = static_cast<const uint8_t*>(l.weight) + block * x.padded * kBlockOutputs;
  add_up_tile<First<Simd>, Simd, R, B>(w, x.codes + row * x.padded, x.padded, sums);
  repeat<B>([&](int b) {
    const int64_t first = (block + b) * kBlockOutputs, n = l.outputs - first;
    const Vector scale = load(static_cast<const float*>(l.scale) + first, n), bias = load(l.bias + first, n);
    repeat<R>([&](int r) {
      const Vector y = fused(Simd::to_float(sums[r][b]) * x.scales[row + r], scale, bias);
      write(to[row + r] + at + b * kBlockOutputs, relu6(y));
    });
  });
}

template <class Simd, int B>
inline void widen_blocks(const fuseline_linear& l, const Prepared& x, int64_t block, float* const* to, int64_t at) {
  typename Simd::Sums start[B];
  const int64_t size = x.padded * kBlockOutputs;
  repeat<B>([&](int b) {
    start[b] = First<Simd>::start(static_cast<const uint8_t*>(l.weight) + (block + b) * size, size);
  });
  by_rows<First<Simd>::kRows>(l.rows, 0, [&](auto rows, int64_t row) {
    widen_tile<Simd, decltype(rows)::value, B>(l, x, start, row, block, to, at);
  });
}

template <class Simd>
inline void widen_rows(const fuseline_linear& l, const Prepared& x, int64_t first, int64_t blocks, float* const* to) {
  int64_t block = 0;
  for (; block + Simd::kBlocks <= blocks; block += Simd::kBlocks)
    widen_blocks<Simd, Simd::kBlocks>(l, x, first + block, to, block * kBlockOutputs);
  for (; block < blocks; ++block) widen_blocks<Simd, 1>(l, x, first + block, to, block * kBlockOutputs);
}

// There may be a residual.
template <class Simd, int R, int B>
FUSELINE_FLAT inline void narrow_tile(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  typename Simd::Sums sums[R][B];
  repeat<R>([&](int r) { repeat<B>([&](int b) { sums[r][b] = Simd::splat(0); }); });
  const uint8_t* w = static_cast<const uint8_t*>(l.weight) + block * x.padded * kBlockOutputs;
  add_up_tile<Second<Simd>, Simd, R, B>(w, x.codes + row * x.padded, x.padded, sums);
  repeat<B>([&](int b) {
    const int64_t first = (block + b) * kBlockOutputs, n = l.outputs - first;
    const Vector scale = load(static_cast<const float*>(l.scale) + first, n), bias = load(l.bias + first, n);
    repeat<R>([&](int r) {
      const int64_t at = (row + r) * l.outputs + first;
      Vector y = fused(Simd::to_float(sums[r][b]) * kActiveStep, scale, bias);
      if (l.residual != nullptr) y += load(l.residual + at, n);
      store(l.y + at, y, n);
    });
  });
}

template <class Simd, int B>
inline void narrow_rows(const fuseline_linear& l, const Prepared& x, int64_t block) {
  by_rows<Second<Simd>::kRows>(
      l.rows, 0, [&](auto rows, int64_t row) { narrow_tile<Simd, decltype(rows)::value, B>(l, x, row, block); });
}

template <class Simd>
inline void narrow_blocks(const fuseline_linear& l, const Prepared& x, int64_t first, int64_t last) {
  for (; first + Simd::kBlocks <= last; first += Simd::kBlocks) narrow_rows<Simd, Simd::kBlocks>(l, x, first);
  for (; first < last; ++first) narrow_rows<Simd, 1>(l, x, first);
}

}  // namespace
}  // namespace fuseline
