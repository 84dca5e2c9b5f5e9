// Linear layers with many rows, such as encoders have: there arithmetic takes the time, and what it reads must lie near.
//
// Floats go in panels of some inputs, whose weights stay in the first cache for some rows; halves become float32 there, once for
// those rows. Their activations lie as they are read, see at(): side by side as they come, rows of some lengths all fall on the
// same few lines of the cache. A sum stays the same to the bit: it goes over the inputs in the same order, in a register or in
// memory between.
#pragma once

#include "linear_blocks.h"

namespace fuseline {
namespace {

constexpr int64_t kPanelInputs = 256;  // of 2 blocks 32 kB
constexpr int64_t kPanelGroups = 10;   // of rows; their sums are another 18 kB

// Where the activations of a group of R rows in a panel lie, [inputs][R]: groups that share a panel's weights side by side, and
// panel after panel. The last group of all has room for R rows, too.
template <int R>
inline float* at(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t input) {
  constexpr int64_t kMost = kPanelGroups * R;
  const int64_t before = row / kMost * kMost, left = (l.rows - before + R - 1) / R * R;
  const int64_t inputs = l.inputs - input < kPanelInputs ? l.inputs - input : kPanelInputs;
  return x.floats + before * l.inputs + input * (left < kMost ? left : kMost) + (row - before) * inputs;
}

// The blocks' weights of a panel: where those of the first lie, and how far the next block's are from there.
struct Panel {
  const float* weights;
  int64_t size;
};

// Products that are added up: of some rows' activations [inputs][stride], and to [rows][B][16], or to nothing yet. ahead: what is
// read soon, a line for each input.
struct Products {
  const float* x;
  int64_t stride, inputs;
  Panel panel;
  bool begin;
  const char* ahead;
  float* sums;
};

template <int R, int B>
FUSELINE_FLAT inline void add_up(const Products& p) {
  Vector y[R][B] = {};
  if (!p.begin) repeat<R>([&](int r) { repeat<B>([&](int b) { y[r][b] = load(p.sums + (r * B + b) * kLanes); }); });
  const float *x = p.x, *w = p.panel.weights;
  const int64_t size = p.panel.size, stride = p.stride;
  const char* ahead = p.ahead;
  for (int64_t i = 0; i < p.inputs; ++i, w += kBlockOutputs, x += stride, ahead += 64) {
    Vector weights[B];
    repeat<B>([&](int b) { weights[b] = load(w + b * size); });
    __builtin_prefetch(ahead);
    repeat<R>([&](int r) {
      const Vector input = splat(x[r]);
      repeat<B>([&](int b) { y[r][b] = fused(input, weights[b], y[r][b]); });
    });
  }
  repeat<R>([&](int r) { repeat<B>([&](int b) { write(p.sums + (r * B + b) * kLanes, y[r][b]); }); });
}

// Of the last rows, fewer than a group has: R at a time, and what is left in halves of that.
template <int R, int B>
inline void add_up_rest(int64_t rows, Products p) {
  if (rows >= R) {
    add_up<R, B>(p);
    p.x += R;
    p.sums += R * B * kLanes;
    rows -= R;
  }
  if constexpr (R > 1) add_up_rest<R / 2, B>(rows, p);
}

template <int B, class Weight>
inline Panel panel_of(const Weight* weights, int64_t size, int64_t inputs, float* room) {
  for (int64_t b = 0; b < B; ++b)
    for (int64_t i = 0; i < inputs; ++i)
      write(room + (b * kPanelInputs + i) * kBlockOutputs, load(weights + b * size + i * kBlockOutputs));
  return {room, kPanelInputs * kBlockOutputs};
}

// All panels of some groups of rows, from `row` on.
template <class Simd, class Weight, int B>
inline void float_groups(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t rows, int64_t block) {
  constexpr int R = Simd::kFloatRows, kRest = R > 8 ? 8 : R > 4 ? 4 : R / 2;
  constexpr bool converted = sizeof(Weight) < sizeof(float);
  alignas(64) float sums[kPanelGroups * R * B * kLanes];
  alignas(64) float room[converted ? B * kPanelInputs * kBlockOutputs : 1];
  const int64_t size = l.inputs * kBlockOutputs;
  const Weight* w = static_cast<const Weight*>(l.weight) + block * size;
  for (int64_t i = 0, n; i < l.inputs; i += n) {
    n = l.inputs - i < kPanelInputs ? l.inputs - i : kPanelInputs;
    Products p{nullptr, R, n, {}, i == 0, nullptr, sums};
    if constexpr (converted)
      p.panel = panel_of<B>(w + i * kBlockOutputs, size, n, room);
    else
      p.panel = {w + i * kBlockOutputs, size};
    for (int64_t r = 0; r < rows; r += R, p.sums += R * B * kLanes) {
      p.x = at<R>(l, x, row + r, i);
      // The first groups ask for a block of the next panel each, the others for activations.
      const int64_t b = r / R, here = rows - r < R ? rows - r : R;
      p.ahead = b < B ? reinterpret_cast<const char*>(w + b * size + (i + n) * kBlockOutputs)
                      : reinterpret_cast<const char*>(p.x + R * n);
      const bool last = i + n == l.inputs;
      if (last) expect<B>(l, row + r, here, block);
      if (here == R)
        add_up<R, B>(p);
      else
        add_up_rest<kRest, B>(here, p);
      if (last) finish<B>(l, row + r, here, block, p.sums);
    }
  }
}

template <class Simd, class Weight, int B>
inline void float_rows(const fuseline_linear& l, const Prepared& x, int64_t block) {
  constexpr int64_t kMost = kPanelGroups * Simd::kFloatRows;
  for (int64_t row = 0; row < l.rows; row += kMost)
    float_groups<Simd, Weight, B>(l, x, row, l.rows - row < kMost ? l.rows - row : kMost, block);
}

// In 8 bits; after the first few rows the weights are in a cache.
template <class Simd, int B>
inline void int8_rows(const fuseline_linear& l, const Prepared& x, int64_t block) {
  constexpr int R = Simd::kCodeRows;
  int8_tile<Simd, R, B, false>(l, x, 0, block);
  int64_t row = R;
  for (; row + R <= l.rows; row += R) int8_tile<Simd, R, B, true>(l, x, row, block);
  rows_of<Simd, Simd::kRows, B>(l, x, row, block);
}

template <class Simd, int B>
inline void all_rows(const fuseline_linear& l, const Prepared& x, int64_t block) {
  if (l.rows < kManyRows) return rows_of<Simd, Simd::kRows, B>(l, x, 0, block);
  switch (l.format) {
    case FUSELINE_FLOAT: return float_rows<Simd, float, B>(l, x, block);
    case FUSELINE_HALF: return float_rows<Simd, uint16_t, B>(l, x, block);
    case FUSELINE_INT8: return int8_rows<Simd, B>(l, x, block);
    default: return rows_of<Simd, Simd::kRows, B>(l, x, 0, block);
  }
}

template <class Simd>
inline void all_blocks(const fuseline_linear& l, const Prepared& x, int64_t first, int64_t last) {
  for (; first + Simd::kBlocks <= last; first += Simd::kBlocks) all_rows<Simd, Simd::kBlocks>(l, x, first);
  for (; first < last; ++first) all_rows<Simd, 1>(l, x, first);
}

// Some inputs of R rows that lie `stride` apart. What is written beyond R of 16 lanes is the next input's, which comes after it.
template <int R>
inline void group_rows(const float* x, int64_t stride, int64_t inputs, float* to) {
  int64_t i = 0;
#if defined(__AVX512F__)
  for (; i + kLanes < inputs; i += kLanes) {
    Vector v[kLanes] = {};
    for (int r = 0; r < R; ++r) v[r] = load(x + r * stride + i);
    transpose(v);
    for (int k = 0; k < kLanes; ++k) write(to + (i + k) * R, v[k]);
  }
#endif
  for (; i < inputs; ++i)
    for (int r = 0; r < R; ++r) to[i * R + r] = x[r * stride + i];
}

// The rows [first, last) of floats.
template <int R>
inline void rows_grouped(const fuseline_linear& l, const Prepared& into, int64_t first, int64_t last) {
  static_assert(FUSELINE_LINEAR_ROWS % R == 0, "groups are taken apart");
  for (int64_t r = first, n; r < last; r += n) {
    const int64_t column = r % R;
    n = column == 0 && r + R <= last ? R : 1;
    for (int64_t i = 0; i < l.inputs; i += kPanelInputs) {
      const int64_t inputs = l.inputs - i < kPanelInputs ? l.inputs - i : kPanelInputs;
      const float* x = l.x + r * l.inputs + i;
      float* to = at<R>(l, into, r - column, i) + column;
      if (n == R)
        group_rows<R>(x, l.inputs, inputs, to);
      else
        for (int64_t k = 0; k < inputs; ++k) to[k * R] = x[k];
    }
  }
}

template <class Simd>
inline void all_rows_prepared(const fuseline_linear& l, const Prepared& into, int64_t first, int64_t last) {
  if (l.format == FUSELINE_FLOAT || l.format == FUSELINE_HALF) return rows_grouped<Simd::kFloatRows>(l, into, first, last);
  for (int64_t r = first; r < last; ++r)
    quantize_row(l.x + r * l.inputs, l.inputs, into.padded, into.groups, into.codes + r * into.padded,
                 into.sums + r * into.groups, into.scales + r);
}

}  // namespace
}  // namespace fuseline
