// Linear layers in 8 bits with AMX: 64 inputs of a block of 16 outputs lie as a tile has them. With few rows reading the weights
// is what takes the time; those, and all other formats, are as with AVX-512.
#include <immintrin.h>

#include "linear_blocks.h"
#include "tiles.h"

namespace fuseline {
namespace {

// With 4 rows a step of ViT-GPT2's layers takes as long either way, with 8 rows 4.6 ms with AMX and 6.3 without.
constexpr int64_t kLeastRows = 8;

// The registers of R tiles of rows, of B blocks of weights, and of the sums of each with each.
constexpr int rows_of(int r) { return r; }
constexpr int weights_of(int b) { return 2 + b; }
constexpr int sums_of(int r, int b) { return 4 + 2 * r + b; }

// A tile of which only the first n rows and in each the first `bytes` are there; the rest is zeros.
struct Part {
  alignas(kTileBytes) uint8_t rows[kTileRows][kTileBytes] = {};
  Part(const void* from, int64_t stride, int64_t bytes, int64_t n) {
    for (int64_t r = 0; r < n; ++r) memcpy(rows[r], static_cast<const char*>(from) + r * stride, static_cast<size_t>(bytes));
  }
};

// 64 inputs of R tiles of rows, `stride` bytes apart, and of B blocks.
template <int R, int B>
inline void multiply(Tiles& tiles, const void* const (&rows)[R], int64_t stride, const void* const (&weights)[B]) {
  tiles.load<rows_of(0)>(rows[0], stride);
  tiles.load<weights_of(0)>(weights[0], kTileBytes);
  tiles.multiply<sums_of(0, 0), rows_of(0), weights_of(0)>();
  if constexpr (B > 1) tiles.load<weights_of(1)>(weights[1], kTileBytes);
  if constexpr (B > 1) tiles.multiply<sums_of(0, 1), rows_of(0), weights_of(1)>();
  if constexpr (R > 1) tiles.load<rows_of(1)>(rows[1], stride);
  if constexpr (R > 1) tiles.multiply<sums_of(1, 0), rows_of(1), weights_of(0)>();
  if constexpr (R > 1 && B > 1) tiles.multiply<sums_of(1, 1), rows_of(1), weights_of(1)>();
}

// Scales, bias and so on of the rows of a tile, R at a time, and of what is left in halves of that.
template <int R>
inline void finish_rows(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t end, int64_t block, const int32_t* sums) {
  for (; row + R <= end; row += R, sums += R * kBlockOutputs)
    scale_and_finish<R, 1>(l, x, row, block, [&](int r, int) {
      const __m512i products = _mm512_load_si512(sums + r * kBlockOutputs);
      return reinterpret_cast<Vector>(_mm512_cvtepi32_ps(_mm512_sub_epi32(products, _mm512_set1_epi32(128 * x.sums[row + r]))));
    });
  if constexpr (R > 1) finish_rows<R / 2>(l, x, row, end, block, sums);
}

// The last inputs, fewer than 64, with zeros for the others. a and w: where they begin.
template <int R, int B>
inline void multiply_rest(Tiles& tiles, const int8_t* a, int64_t stride, const uint8_t* w, int64_t size) {
  const int64_t rest = stride % kTileBytes;
  const Part rows[] = {{a, stride, rest, kTileRows}, {a + (R - 1) * kTileRows * stride, stride, rest, kTileRows}};
  const Part weights[] = {{w, kTileBytes, kTileBytes, rest / 4}, {w + (B - 1) * size, kTileBytes, kTileBytes, rest / 4}};
  const void *row_tiles[R], *weight_tiles[B];
  for (int r = 0; r < R; ++r) row_tiles[r] = rows[r].rows;
  for (int b = 0; b < B; ++b) weight_tiles[b] = weights[b].rows;
  multiply<R, B>(tiles, row_tiles, kTileBytes, weight_tiles);
}

template <int R, int B>
inline void finish_tiles(Tiles& tiles, const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  alignas(kTileBytes) int32_t sums[2][2][kTileRows * kBlockOutputs];
  tiles.store<sums_of(0, 0)>(sums[0][0]);
  if constexpr (B > 1) tiles.store<sums_of(0, 1)>(sums[0][1]);
  if constexpr (R > 1) tiles.store<sums_of(1, 0)>(sums[1][0]);
  if constexpr (R > 1 && B > 1) tiles.store<sums_of(1, 1)>(sums[1][1]);
  for (int b = 0; b < B; ++b)
    for (int r = 0; r < R; ++r) {
      const int64_t first = row + r * kTileRows, end = first + kTileRows;
      finish_rows<8>(l, x, first, end < l.rows ? end : l.rows, block + b, sums[r][b]);
    }
}

// R tiles of rows from `row` on, of which only those before l.rows count, and B blocks.
template <int R, int B>
inline void tiles_of_rows(Tiles& tiles, const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  const int64_t stride = x.padded, size = stride * kBlockOutputs, whole = stride / kTileBytes * kTileBytes;
  const uint8_t* w = static_cast<const uint8_t*>(l.weight) + block * size;
  const int8_t* a = x.codes + row * stride;
  tiles.zero<sums_of(0, 0)>();
  tiles.zero<sums_of(0, 1)>();
  tiles.zero<sums_of(1, 0)>();
  tiles.zero<sums_of(1, 1)>();
  // What will be written is asked for first: a row's outputs are far from the next row's, and each would be waited for.
  for (int64_t r = row; r < row + R * kTileRows && r < l.rows; ++r)
    for (int b = 0; b < B; ++b) __builtin_prefetch(l.y + r * l.outputs + (block + b) * kBlockOutputs, 1);
  // And every turn over the rows asks for its share of the next blocks.
  const int64_t turns = (l.rows - 1) / (2 * kTileRows) + 1, turn = row / (2 * kTileRows);
  const int64_t first_line = kTileRows * turn / turns, last_line = kTileRows * (turn + 1) / turns;
  const void *rows[R], *weights[B];
  for (int64_t i = 0; i < whole; i += kTileBytes) {
    for (int64_t n = first_line; n < last_line; ++n)
      for (int b = 0; b < B; ++b) __builtin_prefetch(w + (B + b) * size + i * kBlockOutputs + n * kTileBytes, 0, 2);
    for (int r = 0; r < R; ++r) rows[r] = a + r * kTileRows * stride + i;
    for (int b = 0; b < B; ++b) weights[b] = w + b * size + i * kBlockOutputs;
    multiply<R, B>(tiles, rows, stride, weights);
  }
  if (whole < stride) multiply_rest<R, B>(tiles, a + whole, stride, w + whole * kBlockOutputs, size);
  finish_tiles<R, B>(tiles, l, x, row, block);
}

template <int B>
inline void all_rows(Tiles& tiles, const fuseline_linear& l, const Prepared& x, int64_t block) {
  int64_t row = 0;
  for (; row + kTileRows < l.rows; row += 2 * kTileRows) tiles_of_rows<2, B>(tiles, l, x, row, block);
  if (row < l.rows) tiles_of_rows<1, B>(tiles, l, x, row, block);
}

}  // namespace

void linear_blocks_amx(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  if (layer.format != FUSELINE_INT8 || layer.rows < kLeastRows) return linear_blocks_avx512(layer, x, first, last);
  Tiles tiles;
  for (; first + 2 <= last; first += 2) all_rows<2>(tiles, layer, x, first);
  if (first < last) all_rows<1>(tiles, layer, x, first);
}

}  // namespace fuseline
