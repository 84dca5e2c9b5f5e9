// Linear layers with many rows, such as encoders have: there arithmetic takes the time, and what it reads must lie near.
//
// Floats go in panels of some inputs, whose weights stay in the first cache for some rows; halves and bfloat16 become float32
// there, once for those rows, but for bfloat16 that is multiplied in pairs, of which each counts as an input here. Their
// activations lie as they are read, see at(): side by side as they come, rows of some lengths all fall on the same few lines of
// the cache. A sum stays the same to the bit: it goes over the inputs in the same order, in a register or in memory between.
// 4 bits are taken apart whenever they are read: once for many rows, with tiles as in 8 bits, VNNI took 1.04 of the time.
#pragma once

#include "linear_blocks.h"
#include "linear_columns.h"

namespace fuseline {
namespace {

constexpr int64_t kPanelInputs = 256;  // of 2 blocks 32 kB
constexpr int64_t kPanelGroups = 10;   // of rows; their sums are another 18 kB

// Of what is multiplied: inputs, or pairs of them.
template <class Simd>
inline int64_t columns_of(const fuseline_linear& l) {
  return l.format != FUSELINE_BFLOAT16 ? l.inputs : Simd::kPairs ? l.padded / 2 : l.padded;
}

// Where the activations of a group of R rows in a panel lie, [inputs][R]: groups that share a panel's weights side by side, and
// panel after panel. The last group of all has room for R rows, too.
template <int R>
inline float* at(const fuseline_linear& l, const Prepared& x, int64_t columns, int64_t row, int64_t input) {
  constexpr int64_t kMost = kPanelGroups * R;
  const int64_t before = row / kMost * kMost, left = (l.rows - before + R - 1) / R * R;
  const int64_t inputs = columns - input < kPanelInputs ? columns - input : kPanelInputs;
  return x.floats + before * columns + input * (left < kMost ? left : kMost) + (row - before) * inputs;
}

// The blocks' weights of a panel: where those of the first lie, and how far the next block's are from there.
struct Panel {
  const float* weights;
  int64_t size;
};

// What is read of memory soon: of blocks `apart` bytes apart, with each input the line that lies `step` bytes behind the one before.
struct Soon {
  const char* from;
  int64_t step, apart;

  template <int B>
  void next() {
    repeat<B>([&](int b) { __builtin_prefetch(from + b * apart); });
    from += step;
  }
};

// Products that are added up: of some rows' activations [inputs][stride], and to [rows][B][16], or to nothing yet.
struct Products {
  const float* x;
  int64_t stride, inputs;
  Panel panel;
  bool begin;
  Soon soon;
  float* sums;
};

// How an input's products are added up: of floats, and of pairs of bfloat16.
struct OfFloats {
  static Vector input(const float* x) { return splat(*x); }
  static Vector add(Vector x, Vector w, Vector y) { return fused(x, w, y); }
};
template <class Simd>
struct OfPairs {
  static Vector input(const float* x) { return Simd::pair(x); }
  static Vector add(Vector x, Vector w, Vector y) { return Simd::add_pairs(x, w, y); }
};

template <class Each, int R, int B>
FUSELINE_FLAT inline void add_up(const Products& p) {
  Vector y[R][B] = {};
  if (!p.begin) repeat<R>([&](int r) { repeat<B>([&](int b) { y[r][b] = load(p.sums + (r * B + b) * kLanes); }); });
  const float *x = p.x, *w = p.panel.weights;
  const int64_t size = p.panel.size, stride = p.stride;
  Soon soon = p.soon;
  for (int64_t i = 0; i < p.inputs; ++i, w += kBlockOutputs, x += stride) {
    Vector weights[B];
    repeat<B>([&](int b) { weights[b] = load(w + b * size); });
    soon.next<B>();
    repeat<R>([&](int r) {
      const Vector input = Each::input(x + r);
      repeat<B>([&](int b) { y[r][b] = Each::add(input, weights[b], y[r][b]); });
    });
  }
  repeat<R>([&](int r) { repeat<B>([&](int b) { write(p.sums + (r * B + b) * kLanes, y[r][b]); }); });
}

// Of the last rows, fewer than a group has: R at a time, then what is left. Up to 6 all at once, since a sum waits for the one before,
// longer than one row's products take: with AVX2 29 rows took 0.96 of the time that they took when the last five were four and one. More
// sizes would be more code than they save.
template <class Each, int R, int B>
inline void add_up_rest(int64_t rows, Products p) {
  if (rows >= R) {
    add_up<Each, R, B>(p);
    p.x += R;
    p.sums += R * B * kLanes;
    rows -= R;
  }
  if constexpr (R > 1) add_up_rest<Each, R <= 6 ? R - 1 : R / 2, B>(rows, p);
}

// A weight as it lies. Pairs are multiplied as they are.
struct BFloat16 {
  uint16_t bits;
};
struct Pairs {
  BFloat16 of[2];
};

// Some inputs of a block as float32.
inline void convert(const uint16_t* halves, int64_t inputs, float* to) {
  for (int64_t i = 0; i < inputs; ++i) write(to + i * kBlockOutputs, load(halves + i * kBlockOutputs));
}
inline void convert(const BFloat16* weights, int64_t inputs, float* to) {
  for (int64_t i = 0; i < inputs; i += 2) {
    const Vector pairs = load(reinterpret_cast<const float*>(weights + i * kBlockOutputs));
    write(to + i * kBlockOutputs, first_of_pairs(pairs));
    write(to + (i + 1) * kBlockOutputs, second_of_pairs(pairs));
  }
}

// All panels of some groups of rows, from `row` on.
template <class Simd, class Weight, class Each, int B>
inline void float_groups(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t rows, int64_t block) {
  constexpr int R = Simd::kFloatRows, kRest = R > 8 ? 8 : R - 1;
  constexpr bool converted = sizeof(Weight) < sizeof(float);
  alignas(64) float sums[kPanelGroups * R * B * kLanes];
  alignas(64) float room[converted ? B * kPanelInputs * kBlockOutputs : 1];
  const int64_t columns = columns_of<Simd>(l), size = columns * kBlockOutputs;
  const bool plain = is_plain<B>(l, block);
  const Weight* w = static_cast<const Weight*>(l.weight) + block * size;
  for (int64_t i = 0, n; i < columns; i += n) {
    n = columns - i < kPanelInputs ? columns - i : kPanelInputs;
    const bool last = i + n == columns;
    // Each group of rows asks for its share of the next panel.
    const int64_t left = last ? columns : columns - i - n, lines = left < kPanelInputs ? left : kPanelInputs;
    const int64_t groups = (rows + R - 1) / R, bytes = kBlockOutputs * static_cast<int64_t>(sizeof(Weight));
    Soon soon{reinterpret_cast<const char*>(last ? w + B * size : w + (i + n) * kBlockOutputs), lines * bytes / (groups * n) + 1,
              size * static_cast<int64_t>(sizeof(Weight))};
    Products p{nullptr, R, n, {}, i == 0, soon, sums};
    if constexpr (converted) {
      for (int64_t b = 0; b < B; ++b) convert(w + b * size + i * kBlockOutputs, n, room + b * kPanelInputs * kBlockOutputs);
      p.panel = {room, kPanelInputs * kBlockOutputs};
    } else {
      p.panel = {reinterpret_cast<const float*>(w + i * kBlockOutputs), size};
    }
    p.x = at<R>(l, x, columns, row, i);  // and the next group's right after it
    for (int64_t r = 0; r < rows; r += R, p.x += R * n, p.sums += R * B * kLanes) {
      const int64_t here = rows - r < R ? rows - r : R;
      if (last) expect<B>(l, row + r, here, block);
      if (here == R)
        add_up<Each, R, B>(p);
      else
        add_up_rest<Each, kRest, B>(here, p);
      p.soon.from += n * soon.step;
      if (!last) continue;
      if (plain && here == R)
        finish_plain<R, B>(l, row + r, block, p.sums);
      else
        finish<B>(l, row + r, here, block, p.sums);
    }
  }
}

template <class Simd, class Weight, class Each, int B>
inline void float_rows(const fuseline_linear& l, const Prepared& x, int64_t block) {
  constexpr int64_t kMost = kPanelGroups * Simd::kFloatRows;
  for (int64_t row = 0; row < l.rows; row += kMost)
    float_groups<Simd, Weight, Each, B>(l, x, row, l.rows - row < kMost ? l.rows - row : kMost, block);
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

// --- codes in groups -------------------------------------------------------------------------------------------------
// The codes of kCodeRows rows lie as they are read, [quads][rows][4]. One after the other, as rows, they need an address each: GCC keeps
// some of these on the stack, and the products of an encoder's layers took 0.84 of the floor's speed.

// Where the codes of a row's group begin.
template <class Simd>
inline int8_t* group_of(const Prepared& x, int64_t row) {
  return x.codes + row / Simd::kCodeRows * Simd::kCodeRows * x.padded;
}

// R rows of a group, from `row` on.
template <class Simd, int R, int B>
FUSELINE_FLAT inline void int8_group(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block, const Soon& soon) {
  const int64_t quads = x.padded / 4, size = quads * 64;
  const uint8_t* w = static_cast<const uint8_t*>(l.weight) + block * size;
  const int8_t* a = group_of<Simd>(x, row) + row % Simd::kCodeRows * 4;
  Soon ahead = soon;
  typename Simd::Sums sums[R][B];
  repeat<R>([&](int r) { repeat<B>([&](int b) { sums[r][b] = Simd::start(x.sums[row + r]); }); });
  expect<B>(l, row, R, block);
  for (const uint8_t* const end = w + size; w != end; w += 64, a += 4 * Simd::kCodeRows) {
    typename Simd::Weights weights[B];
    repeat<B>([&](int b) { weights[b] = Simd::load(w + b * size); });
    ahead.next<1>();
    repeat<R>([&](int r) {
      const auto inputs = Simd::inputs(a + 4 * r);
      repeat<B>([&](int b) { sums[r][b] = Simd::dot(sums[r][b], weights[b], inputs); });
    });
  }
  scale_and_finish<R, B>(l, x, row, block, [&](int r, int b) { return Simd::to_float(sums[r][b]); });
}

// The same in 4 bits, of one block, whose sums of a group of inputs are scaled before they are added up.
template <class Simd, int R, int B>
FUSELINE_FLAT inline void int4_group(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block, const Soon& soon) {
  static_assert(B == 1, "sums of more do not fit the registers");
  const uint8_t* w = static_cast<const uint8_t*>(l.weight) + block * x.padded * (kBlockOutputs / 2);
  const uint16_t* scale = static_cast<const uint16_t*>(l.scale) + block * x.groups * kBlockOutputs;
  const int8_t* a = group_of<Simd>(x, row) + row % Simd::kCodeRows * 4;
  const int64_t bytes = x.padded / x.groups * (kBlockOutputs / 2);
  Soon ahead = soon;
  expect<1>(l, row, R, block);
  Vector y[R] = {};
  for (int64_t g = 0; g < x.groups; ++g) {
    typename Simd::Sums sums[R];
    repeat<R>([&](int r) { sums[r] = Simd::splat(-8 * x.sums[(row + r) * x.groups + g]); });
    for (const uint8_t* const end = w + bytes; w != end; w += 256, a += 32 * Simd::kCodeRows) {
      ahead.next<1>();
      Simd::template dot4<R>(sums, w, a);
    }
    const Vector s = load_half(scale + g * kBlockOutputs);
    repeat<R>([&](int r) { y[r] = fused(Simd::to_float(sums[r]), s, y[r]); });
  }
  Tile<R, 1> products;
  repeat<R>([&](int r) { write(products.of[r][0], y[r] * x.scales[row + r]); });
  finish<1>(l, row, R, block, products.of[0][0]);
}

// R rows of a group in either format.
template <class Simd, bool four_bits, int R, int B>
inline void code_group(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block, const Soon& soon) {
  if constexpr (four_bits)
    int4_group<Simd, R, B>(l, x, row, block, soon);
  else
    int8_group<Simd, R, B>(l, x, row, block, soon);
}

// The last rows, fewer than a group has.
template <class Simd, bool four_bits, int R, int B>
inline void code_rest(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block, const Soon& soon) {
  if (row + R <= l.rows) {
    code_group<Simd, four_bits, R, B>(l, x, row, block, soon);
    row += R;
  }
  if constexpr (R > 1) code_rest<Simd, four_bits, R / 2, B>(l, x, row, block, soon);
}

// Each group asks for its share of the next blocks' weights.
template <class Simd, bool four_bits, int B>
inline void code_groups(const fuseline_linear& l, const Prepared& x, int64_t block) {
  constexpr int R = Simd::kCodeRows, kBytes = four_bits ? 32 : 64;
  const int64_t groups = (l.rows - 1) / R + 1, quads = x.padded / 4, share = B * kBytes / groups + 1;
  constexpr int kQuads = four_bits ? 8 : 1;  // that are read at once
  Soon soon{static_cast<const char*>(l.weight) + (block + B) * quads * kBytes, kQuads * share, 0};
  int64_t row = 0;
  for (; row + R <= l.rows; row += R, soon.from += quads * share) code_group<Simd, four_bits, R, B>(l, x, row, block, soon);
  code_rest<Simd, four_bits, R / 2 + 1, B>(l, x, row, block, soon);
}

template <class Simd, int B>
inline void int8_codes(const fuseline_linear& l, const Prepared& x, int64_t block) {
  if constexpr (Simd::kGroups)
    if (x.grouped) return code_groups<Simd, false, B>(l, x, block);
  int8_rows<Simd, B>(l, x, block);
}

template <class Simd, int B>
inline void int4_codes(const fuseline_linear& l, const Prepared& x, int64_t block) {
  if constexpr (Simd::kGroups) {
    for (int64_t b = 0; x.grouped && b < B; ++b) code_groups<Simd, true, 1>(l, x, block + b);
    if (x.grouped) return;
  }
  rows_of<Simd, Simd::kRows, B>(l, x, 0, block);
}

template <class Simd, int B>
inline void all_rows(const fuseline_linear& l, const Prepared& x, int64_t block) {
  if (l.rows < kManyRows) return rows_of<Simd, Simd::kRows, B>(l, x, 0, block);
  if constexpr (Simd::kPairs) {
    float_rows<Simd, Pairs, OfPairs<Simd>, B>(l, x, block);
  } else {
    switch (l.format) {
      case FUSELINE_FLOAT: return float_rows<Simd, float, OfFloats, B>(l, x, block);
      case FUSELINE_HALF: return float_rows<Simd, uint16_t, OfFloats, B>(l, x, block);
      case FUSELINE_BFLOAT16: return float_rows<Simd, BFloat16, OfFloats, B>(l, x, block);
      case FUSELINE_INT8: return int8_codes<Simd, B>(l, x, block);
      default: return int4_codes<Simd, B>(l, x, block);
    }
  }
}

template <class Simd>
inline void all_blocks(const fuseline_linear& l, const Prepared& x, int64_t first, int64_t last) {
  for (; first + Simd::kBlocks <= last; first += Simd::kBlocks) all_rows<Simd, Simd::kBlocks>(l, x, first);
  for (; first < last; ++first) all_rows<Simd, 1>(l, x, first);
}

// The rows [first, last) of floats.
template <class Simd, class Column>
inline void rows_grouped(const fuseline_linear& l, const Prepared& into, int64_t first, int64_t last) {
  constexpr int R = Simd::kFloatRows;
  static_assert(FUSELINE_LINEAR_ROWS % R == 0, "groups are taken apart");
  const int64_t all = columns_of<Simd>(l);
  for (int64_t r = first, n; r < last; r += n) {
    const int64_t column = r % R;
    n = column == 0 && r + R <= last ? R : 1;
    for (int64_t i = 0; i < all; i += kPanelInputs) {
      const int64_t columns = all - i < kPanelInputs ? all - i : kPanelInputs, left = l.inputs - i * Column::kInputs;
      const float* x = l.x + r * l.inputs + i * Column::kInputs;
      float* to = at<R>(l, into, all, r - column, i) + column;
      if (n == R)
        group_rows<Column, R>(x, l.inputs, columns, left, to);
      else
        for (int64_t k = 0; k < columns; ++k) to[k * R] = Column::one(x + k * Column::kInputs, left - k * Column::kInputs);
    }
  }
}

// The same as they come, one row after the other.
template <class Column>
inline void rows_in_order(const fuseline_linear& l, const Prepared& into, int64_t first, int64_t last) {
  const int64_t columns = l.padded / Column::kInputs, whole = l.inputs / Column::kInputs;
  for (int64_t r = first; r < last; ++r) {
    const float* x = l.x + r * l.inputs;
    float* to = into.floats + r * columns;
    int64_t i = 0;
    for (; i + kLanes <= whole; i += kLanes) write(to + i, Column::many(x + i * Column::kInputs));
    for (; i < columns; ++i) to[i] = Column::one(x + i * Column::kInputs, l.inputs - i * Column::kInputs);
  }
}

// In bfloat16, of which few rows are read as they come.
template <class Simd, class Column>
inline void rows_rounded(const fuseline_linear& l, const Prepared& into, int64_t first, int64_t last) {
  if (l.rows < kManyRows) return rows_in_order<Column>(l, into, first, last);
  rows_grouped<Simd, Column>(l, into, first, last);
}

#if defined(__AVX512F__)
// 64 whole numbers from -128 to 127, as bytes in their order.
inline __m512i bytes_of(const Integers (&v)[4]) {
  const auto pairs = [](Integers a, Integers b) { return _mm512_packs_epi32(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)); };
  const __m512i mixed = _mm512_packs_epi16(pairs(v[0], v[1]), pairs(v[2], v[3]));  // which go by quarters of a register
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), mixed);
}

// Sixteen fours of numbers to codes, as `quantized` does it: of all fours together it is seen whether one is too near to another.
inline void quantize_four(const Vector (&x)[4], float step, float inverse, Integers (&codes)[4]) {
  __m512 apart = _mm512_setzero_ps();
  repeat<4>([&](int k) {
    const auto quick = reinterpret_cast<__m512>(x[k] * inverse);
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC, kLargerSize = 0b1011;
    apart = _mm512_range_ps(apart, _mm512_reduce_ps(quick, kNearest), kLargerSize);
    codes[k] = reinterpret_cast<Integers>(_mm512_cvtps_epi32(quick));
  });
  if (_mm512_cmp_ps_mask(apart, _mm512_set1_ps(0.49996f), _CMP_GT_OQ) != 0)
    repeat<4>([&](int k) { codes[k] = quantized(x[k], step, inverse); });
}

// Rows of one group, `n` from `row` on, to codes as quantize_row makes them; of a row that is not finite only the scale counts. Inputs
// that share a weight scale are a multiple of 64, or all.
template <class Simd>
inline void quantize_group(const fuseline_linear& l, const Prepared& into, int64_t row, int64_t n) {
  constexpr int R = Simd::kCodeRows;
  const int64_t group = into.padded / into.groups;
  float steps[R], inverses[R];
  typename Simd::Sums totals[R];
  for (int64_t r = 0; r < n; ++r) {
    steps[r] = step_of(l.x + (row + r) * l.inputs, l.inputs);
    inverses[r] = 1.0f / steps[r];
    totals[r] = Simd::splat(0);
  }
  int8_t* to = group_of<Simd>(into, row) + row % R * 4;
  const auto there = static_cast<__mmask16>((1u << n) - 1);
  for (int64_t i = 0; i < into.padded; i += 4 * kLanes) {
    Vector columns[kLanes] = {};
    for (int64_t r = 0; r < n; ++r) {
      const float* x = l.x + (row + r) * l.inputs + i;
      Vector numbers[4];
      Integers codes[4];
      repeat<4>([&](int k) {
        const int64_t left = l.inputs - i - k * kLanes;
        numbers[k] = load(x + k * kLanes, left > 0 ? left : 0);
      });
      quantize_four(numbers, steps[r], inverses[r], codes);
      const __m512i bytes = bytes_of(codes);
      totals[r] = Simd::dot(totals[r], _mm512_set1_epi8(1), bytes);
      columns[r] = reinterpret_cast<Vector>(bytes);
    }
    transpose(columns);
    const int64_t quads = (into.padded - i) / 4 < kLanes ? (into.padded - i) / 4 : kLanes;
    for (int64_t q = 0; q < quads; ++q, to += 4 * R) _mm512_mask_storeu_epi32(to, there, reinterpret_cast<__m512i>(columns[q]));
    const int64_t done = i + 4 * quads;
    if (done % group != 0) continue;
    for (int64_t r = 0; r < n; ++r) {
      into.sums[(row + r) * into.groups + done / group - 1] = sum_of(reinterpret_cast<Integers>(totals[r]));
      totals[r] = Simd::splat(0);
    }
  }
  for (int64_t r = 0; r < n; ++r) into.scales[row + r] = steps[r];
}

template <class Simd>
inline void rows_in_groups(const fuseline_linear& l, const Prepared& into, int64_t first, int64_t last) {
  constexpr int R = Simd::kCodeRows;
  static_assert(FUSELINE_LINEAR_ROWS % R == 0, "groups are taken apart");
  for (int64_t r = first, n; r < last; r += n) {
    n = R - r % R < last - r ? R - r % R : last - r;
    quantize_group<Simd>(l, into, r, n);
  }
}
#endif

template <class Simd>
inline void all_rows_prepared(const fuseline_linear& l, const Prepared& into, int64_t first, int64_t last) {
  if (l.format == FUSELINE_FLOAT || l.format == FUSELINE_HALF) return rows_grouped<Simd, AsTheyAre>(l, into, first, last);
  if (l.format == FUSELINE_BFLOAT16) return rows_rounded<Simd, Rounded>(l, into, first, last);
#if defined(__AVX512F__)
  if (into.grouped) return rows_in_groups<Simd>(l, into, first, last);
#endif
  for (int64_t r = first; r < last; ++r)
    quantize_row(l.x + r * l.inputs, l.inputs, into.padded, into.groups, into.codes + r * into.padded,
                 into.sums + r * into.groups, into.scales + r);
}

}  // namespace
}  // namespace fuseline
