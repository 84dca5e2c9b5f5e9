// Linear layers in bfloat16 with BFMMLA, and of a single row with BFDOT; all others are as with NEON alone.
//
// Rows lie in groups, as BFMMLA reads them: [quads of inputs][pairs of rows][2][4].
#include "bfmmla.h"
#include "linear_blocks.h"

namespace fuseline {
namespace {

constexpr int64_t kGroupPairs = 6, kGroupRows = 2 * kGroupPairs;  // whose sums with half a block fit the registers

// Where a group begins, and how many pairs of rows it has. The second row of a pair may be none: then it is whatever memory holds.
struct Group {
  float* rows;
  int64_t pairs;
};

inline Group group_of(const fuseline_linear& l, const Prepared& x, int64_t row) {
  const int64_t first = row / kGroupRows * kGroupRows, quads = (l.padded + 3) / 4, pairs = (l.rows - first + 1) / 2;
  return {x.floats + first * quads * 2, pairs < kGroupPairs ? pairs : kGroupPairs};
}

// 4 numbers, of which `left` are there.
inline bfloat16x4_t rounded(const float* x, int64_t left) {
  if (left >= 4) return vcvt_bf16_f32(vld1q_f32(x));
  float numbers[4] = {};
  memcpy(numbers, x, static_cast<size_t>(left) * sizeof(float));
  return vcvt_bf16_f32(vld1q_f32(numbers));
}

// What comes after these two lines is asked for as linear_blocks.h does it.
inline void expect_lines(const float* w) {
  __builtin_prefetch(reinterpret_cast<const char*>(w) + kAhead);
  __builtin_prefetch(reinterpret_cast<const char*>(w + kLanes) + kAhead);
}

// P pairs of rows by C pairs of outputs, to products [rows][16].
template <int P, int C>
FUSELINE_FLAT inline void multiply(const float* rows, const float* w, int64_t lines, float* products) {
  float32x4_t sums[P][C] = {};
  for (int64_t n = 0; n < lines; n += 2, rows += 4 * P, w += 2 * kLanes) {
    expect_lines(w);
    const auto pair = [&](int p) { return vreinterpretq_bf16_f32(vld1q_f32(rows + 4 * p)); };
    add_quad<P, C>(pair, w, n + 1 < lines ? w + kLanes : kZeroLine, sums);
  }
  repeat<P>([&](int p) {
    repeat<C / 2>([&](int c) {
      vst1q_f32(products + 2 * p * kLanes + 4 * c, low_halves(sums[p][2 * c], sums[p][2 * c + 1]));
      vst1q_f32(products + (2 * p + 1) * kLanes + 4 * c, high_halves(sums[p][2 * c], sums[p][2 * c + 1]));
    });
  });
}

// A group of P pairs by a block: at once, or one half after the other where registers have no more room.
template <int P>
inline void multiply_group(const Group& group, const float* w, int64_t lines, float* products) {
  if constexpr (P > 1)
    if (group.pairs < P) return multiply_group<P - 1>(group, w, lines, products);
  if constexpr (2 * P <= kGroupPairs) return multiply<P, 8>(group.rows, w, lines, products);
  multiply<P, 4>(group.rows, w, lines, products);
  multiply<P, 4>(group.rows, w + kLanes / 2, lines, products + kLanes / 2);
}

// The same of a group that is a single row.
FUSELINE_FLAT inline void multiply_row(const float* row, const float* w, int64_t lines, float* products) {
  float32x4_t sums[4] = {};
  for (int64_t n = 0; n < lines; n += 2, row += 4, w += 2 * kLanes) {
    expect_lines(w);
    const bfloat16x4_t inputs = vreinterpret_bf16_f32(vld1_f32(row));
    const auto line = [](const float* from, int c) { return vreinterpretq_bf16_f32(vld1q_f32(from + 4 * c)); };
    repeat<4>([&](int c) { sums[c] = vbfdotq_lane_f32(sums[c], line(w, c), inputs, 0); });
    if (n + 1 == lines) break;
    repeat<4>([&](int c) { sums[c] = vbfdotq_lane_f32(sums[c], line(w + kLanes, c), inputs, 1); });
  }
  repeat<4>([&](int c) { vst1q_f32(products + 4 * c, sums[c]); });
}

inline void multiply_block(const fuseline_linear& l, const Prepared& x, int64_t block) {
  const int64_t lines = l.padded / 2;
  const float* const w = static_cast<const float*>(l.weight) + block * lines * kLanes;
  alignas(64) float products[kGroupRows * kLanes];
  for (int64_t row = 0; row < l.rows; row += kGroupRows) {
    const Group group = group_of(l, x, row);
    const int64_t rows = l.rows - row < kGroupRows ? l.rows - row : kGroupRows;
    expect<1>(l, row, rows, block);
    if (rows == 1)
      multiply_row(group.rows, w, lines, products);
    else
      multiply_group<kGroupPairs>(group, w, lines, products);
    finish<1>(l, row, rows, block, products);
  }
}

}  // namespace

void prepare_rows_neonbf16(const fuseline_linear& layer, const Prepared& into, int64_t first, int64_t last) {
  if (layer.format != FUSELINE_BFLOAT16) return prepare_rows_neon(layer, into, first, last);
  for (int64_t r = first; r < last; ++r) {
    const Group group = group_of(layer, into, r);
    const float* x = layer.x + r * layer.inputs;
    float* to = group.rows + r % kGroupRows * 2;
    for (int64_t left = layer.inputs; left > 0; left -= 4, x += 4, to += 4 * group.pairs) write(to, rounded(x, left));
  }
}

void linear_blocks_neonbf16(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  if (layer.format != FUSELINE_BFLOAT16) return linear_blocks_neon(layer, x, first, last);
  for (; first < last; ++first) multiply_block(layer, x, first);
}

}  // namespace fuseline
