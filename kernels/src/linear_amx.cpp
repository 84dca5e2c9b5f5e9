// Linear layers in 8 bits, in bfloat16 and with many rows in 4 bits with AMX: 64 bytes of a block of 16 outputs, in 4 bits taken
// apart, lie as a tile has them. In 8 and 4 bits reading the weights is what takes the time of few rows; those, and float32 and
// halves, are as with AVX-512. In bfloat16 tiles sum up in an order of their own, so that there a single row is a tile too.
#include "convolutions.h"
#include "linear_avx512.h"
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

// Products of codes in 8 bits, and of numbers in bfloat16.
struct Codes {
  template <int sums, int rows, int weights>
  static void multiply(Tiles& tiles) {
    tiles.multiply<sums, rows, weights>();
  }
};
struct Numbers {
  template <int sums, int rows, int weights>
  static void multiply(Tiles& tiles) {
    tiles.multiply_bfloat16<sums, rows, weights>();
  }
};

// 64 bytes of R tiles of rows, `stride` bytes apart, and of B blocks.
template <class Of, int R, int B>
inline void multiply(Tiles& tiles, const void* const (&rows)[R], int64_t stride, const void* const (&weights)[B]) {
  tiles.load<rows_of(0)>(rows[0], stride);
  tiles.load<weights_of(0)>(weights[0], kTileBytes);
  Of::template multiply<sums_of(0, 0), rows_of(0), weights_of(0)>(tiles);
  if constexpr (B > 1) tiles.load<weights_of(1)>(weights[1], kTileBytes);
  if constexpr (B > 1) Of::template multiply<sums_of(0, 1), rows_of(0), weights_of(1)>(tiles);
  if constexpr (R > 1) tiles.load<rows_of(1)>(rows[1], stride);
  if constexpr (R > 1) Of::template multiply<sums_of(1, 0), rows_of(1), weights_of(0)>(tiles);
  if constexpr (R > 1 && B > 1) Of::template multiply<sums_of(1, 1), rows_of(1), weights_of(1)>(tiles);
}

inline void begin(Tiles& tiles) {
  tiles.zero<sums_of(0, 0)>();
  tiles.zero<sums_of(0, 1)>();
  tiles.zero<sums_of(1, 0)>();
  tiles.zero<sums_of(1, 1)>();
}

// The sums of R tiles of rows and B blocks.
struct alignas(kTileBytes) Sums {
  int32_t of[2][2][kTileRows * kBlockOutputs];

  template <int R, int B>
  void take(Tiles& tiles) {
    tiles.store<sums_of(0, 0)>(of[0][0]);
    if constexpr (B > 1) tiles.store<sums_of(0, 1)>(of[0][1]);
    if constexpr (R > 1) tiles.store<sums_of(1, 0)>(of[1][0]);
    if constexpr (R > 1 && B > 1) tiles.store<sums_of(1, 1)>(of[1][1]);
  }
};

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

// The last bytes of rows and blocks, fewer than 64, with zeros for the others. a and w: where they begin.
template <class Of, int R, int B>
inline void multiply_rest(Tiles& tiles, const char* a, int64_t stride, const char* w, int64_t size) {
  const int64_t rest = stride % kTileBytes;
  const Part rows[] = {{a, stride, rest, kTileRows}, {a + (R - 1) * kTileRows * stride, stride, rest, kTileRows}};
  const Part weights[] = {{w, kTileBytes, kTileBytes, rest / 4}, {w + (B - 1) * size, kTileBytes, kTileBytes, rest / 4}};
  const void *row_tiles[R], *weight_tiles[B];
  for (int r = 0; r < R; ++r) row_tiles[r] = rows[r].rows;
  for (int b = 0; b < B; ++b) weight_tiles[b] = weights[b].rows;
  multiply<Of, R, B>(tiles, row_tiles, kTileBytes, weight_tiles);
}

template <int R, int B>
inline void finish_tiles(Tiles& tiles, const fuseline_linear& l, const Prepared& x, int64_t row, int64_t block) {
  Sums sums;
  sums.take<R, B>(tiles);
  for (int b = 0; b < B; ++b)
    for (int r = 0; r < R; ++r) {
      const int64_t first = row + r * kTileRows, end = first + kTileRows < l.rows ? first + kTileRows : l.rows;
      if (l.format == FUSELINE_INT8)
        finish_rows<8>(l, x, first, end, block + b, sums.of[r][b]);
      else
        finish<1>(l, first, end - first, block + b, reinterpret_cast<const float*>(sums.of[r][b]));
    }
}

// R tiles of rows from `row` on, of which only those before l.rows count, and B blocks. stride: bytes of a row.
template <class Of, int R, int B>
inline void tiles_of_rows(Tiles& tiles, const fuseline_linear& l, const Prepared& x, int64_t stride, int64_t row, int64_t block) {
  const int64_t size = stride * kBlockOutputs, whole = stride / kTileBytes * kTileBytes;
  const char* w = static_cast<const char*>(l.weight) + block * size;
  const void* prepared = l.format == FUSELINE_INT8 ? static_cast<const void*>(x.codes) : x.floats;
  const char* a = static_cast<const char*>(prepared) + row * stride;
  begin(tiles);
  expect<B>(l, row, row + R * kTileRows < l.rows ? R * kTileRows : l.rows - row, block);
  // Every turn over the rows asks for its share of the next blocks.
  const int64_t turns = (l.rows - 1) / (2 * kTileRows) + 1, turn = row / (2 * kTileRows);
  const int64_t first_line = kTileRows * turn / turns, last_line = kTileRows * (turn + 1) / turns;
  const void *rows[R], *weights[B];
  for (int64_t i = 0; i < whole; i += kTileBytes) {
    for (int64_t n = first_line; n < last_line; ++n)
      for (int b = 0; b < B; ++b) __builtin_prefetch(w + (B + b) * size + i * kBlockOutputs + n * kTileBytes, 0, 2);
    for (int r = 0; r < R; ++r) rows[r] = a + r * kTileRows * stride + i;
    for (int b = 0; b < B; ++b) weights[b] = w + b * size + i * kBlockOutputs;
    multiply<Of, R, B>(tiles, rows, stride, weights);
  }
  if (whole < stride) multiply_rest<Of, R, B>(tiles, a + whole, stride, w + whole * kBlockOutputs, size);
  finish_tiles<R, B>(tiles, l, x, row, block);
}

template <class Of, int B>
inline void all_rows_by_tiles(Tiles& tiles, const fuseline_linear& l, const Prepared& x, int64_t stride, int64_t block) {
  int64_t row = 0;
  for (; row + kTileRows < l.rows; row += 2 * kTileRows) tiles_of_rows<Of, 2, B>(tiles, l, x, stride, row, block);
  if (row < l.rows) tiles_of_rows<Of, 1, B>(tiles, l, x, stride, row, block);
}

template <class Of>
inline void all_blocks_by_tiles(const fuseline_linear& l, const Prepared& x, int64_t stride, int64_t first, int64_t last) {
  Tiles tiles;
  for (; first + 2 <= last; first += 2) all_rows_by_tiles<Of, 2>(tiles, l, x, stride, first);
  if (first < last) all_rows_by_tiles<Of, 1>(tiles, l, x, stride, first);
}

// 4 bits are taken apart once for so many rows, whose sums are 20 kB, of whole groups of so many inputs, 16 kB of 2 blocks.
constexpr int64_t kUnpackedRows = 10 * kTileRows, kUnpackedInputs = 512;

// 4 bits of B blocks as bytes, codes 0 to 15: the groups [first, last) in the order of 8 bits.
template <int B>
struct Unpacked {
  alignas(kTileBytes) uint8_t codes[B][kUnpackedInputs * kBlockOutputs];

  void fill(const fuseline_linear& l, const Prepared& x, int64_t block, int64_t first, int64_t last) {
    const __m512i mask = _mm512_set1_epi8(15);
    const int64_t bytes = x.padded / x.groups * kBlockOutputs / 2;  // of a group
    for (int64_t b = 0; b < B; ++b) {
      const uint8_t* w = static_cast<const uint8_t*>(l.weight) + ((block + b) * x.groups + first) * bytes;
      for (int64_t i = 0; i < (last - first) * bytes; i += kTileBytes) {
        __builtin_prefetch(w + i + kAhead);
        const __m512i both = _mm512_loadu_si512(w + i);
        _mm512_store_si512(codes[b] + 2 * i, _mm512_and_si512(both, mask));
        _mm512_store_si512(codes[b] + 2 * i + kTileBytes, _mm512_and_si512(_mm512_srli_epi16(both, 4), mask));
      }
    }
  }
};

// The groups [first, last) of R tiles of rows, those before `end`, added to sums [rows][B][16].
template <int R, int B>
inline void int4_groups_by_tiles(Tiles& tiles, const fuseline_linear& l, const Prepared& x, int64_t row, int64_t end, int64_t block,
                                 int64_t first, int64_t last, const Unpacked<B>& codes, float* into) {
  const int64_t group = x.padded / x.groups;
  const void *rows[R], *weights[B];
  Sums sums;
  for (int64_t g = first, at = 0; g < last; ++g) {
    begin(tiles);
    for (int64_t stop = at + group; at < stop; at += kTileBytes) {
      for (int r = 0; r < R; ++r) rows[r] = x.codes + (row + r * kTileRows) * x.padded + first * group + at;
      for (int b = 0; b < B; ++b) weights[b] = codes.codes[b] + at * kBlockOutputs;
      multiply<Codes, R, B>(tiles, rows, x.padded, weights);
    }
    sums.take<R, B>(tiles);
    for (int b = 0; b < B; ++b) {
      const Vector scale = load_half(static_cast<const uint16_t*>(l.scale) + ((block + b) * x.groups + g) * kBlockOutputs);
      for (int64_t r = row; r < end; ++r) {
        const int64_t tile = (r - row) / kTileRows;
        const __m512i whole = _mm512_load_si512(sums.of[tile][b] + (r - row) % kTileRows * kBlockOutputs);
        const __m512i centred = _mm512_sub_epi32(whole, Avx512::splat(8 * x.sums[r * x.groups + g]));
        float* y = into + ((r - row) * B + b) * kLanes;
        write(y, fused(Avx512::to_float(centred), scale, load(y)));
      }
    }
  }
}

// What is left to do with the sums of some rows.
template <int B>
inline void finish_int4(const fuseline_linear& l, const Prepared& x, int64_t row, int64_t end, int64_t block, float* sums) {
  expect<B>(l, row, end - row, block);
  for (int64_t r = row; r < end; ++r)
    for (int64_t b = 0; b < B; ++b) {
      float* y = sums + ((r - row) * B + b) * kLanes;
      write(y, load(y) * x.scales[r]);
    }
  finish<B>(l, row, end - row, block, sums);
}

// Some rows that share what is unpacked.
template <int B>
inline void int4_many_by_tiles(Tiles& tiles, const fuseline_linear& l, const Prepared& x, int64_t row, int64_t end, int64_t block) {
  alignas(64) float sums[kUnpackedRows * B * kLanes] = {};
  Unpacked<B> codes;
  const int64_t together = kUnpackedInputs / (x.padded / x.groups);
  for (int64_t g = 0, last; g < x.groups; g = last) {
    last = x.groups - g < together ? x.groups : g + together;
    codes.fill(l, x, block, g, last);
    int64_t r = row;
    for (; r + kTileRows < end; r += 2 * kTileRows)
      int4_groups_by_tiles<2, B>(tiles, l, x, r, end < r + 2 * kTileRows ? end : r + 2 * kTileRows, block, g, last, codes,
                                 sums + (r - row) * B * kLanes);
    if (r < end) int4_groups_by_tiles<1, B>(tiles, l, x, r, end, block, g, last, codes, sums + (r - row) * B * kLanes);
  }
  finish_int4<B>(l, x, row, end, block, sums);
}

template <int B>
inline void int4_rows_by_tiles(Tiles& tiles, const fuseline_linear& l, const Prepared& x, int64_t block) {
  for (int64_t row = 0; row < l.rows; row += kUnpackedRows)
    int4_many_by_tiles<B>(tiles, l, x, row, l.rows - row < kUnpackedRows ? l.rows : row + kUnpackedRows, block);
}

// Whether groups are of whole tiles, and can be taken apart together.
inline bool in_tiles(const fuseline_linear& l) {
  const int64_t group = l.padded / l.groups;
  return l.rows >= kManyRows && group % kTileBytes == 0 && group <= kUnpackedInputs;
}

// Tiles are of rows as they come.
inline Prepared in_order(Prepared x) {
  x.grouped = false;
  return x;
}

}  // namespace

void prepare_rows_amx(const fuseline_linear& layer, const Prepared& into, int64_t first, int64_t last) {
  if (layer.format != FUSELINE_BFLOAT16) return prepare_rows_avx512(layer, in_order(into), first, last);
  rows_in_order<Paired>(layer, into, first, last);
}

void linear_blocks_amx(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  if (layer.format == FUSELINE_BFLOAT16) return all_blocks_by_tiles<Numbers>(layer, x, 2 * x.padded, first, last);
  if (layer.format == FUSELINE_INT8 && layer.rows >= kLeastRows) return all_blocks_by_tiles<Codes>(layer, x, x.padded, first, last);
  if (layer.format != FUSELINE_INT4 || !in_tiles(layer)) return linear_blocks_avx512(layer, in_order(x), first, last);
  Tiles tiles;
  for (; first + 2 <= last; first += 2) int4_rows_by_tiles<2>(tiles, layer, x, first);
  if (first < last) int4_rows_by_tiles<1>(tiles, layer, x, first);
}

// What tiles read of rows of a bottleneck's second layer beside their codes.
void narrow_amx(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last) {
  constexpr int64_t kMost = 96;
  float scales[kMost];
  int32_t sums[kMost];
  fuseline_linear l = layer;
  Prepared some = x;
  some.scales = scales;
  some.sums = sums;
  for (int64_t row = 0; row < layer.rows; row += l.rows) {
    l.rows = layer.rows - row < kMost ? layer.rows - row : kMost;
    l.y = layer.y + row * layer.outputs;
    l.residual = layer.residual == nullptr ? nullptr : layer.residual + row * layer.outputs;
    some.codes = x.codes + row * x.padded;
    for (int64_t r = 0; r < l.rows; ++r) {
      scales[r] = kActiveStep;
      sums[r] = 0;
      for (int64_t i = 0; i < x.padded; ++i) sums[r] += some.codes[r * x.padded + i];
    }
    linear_blocks_amx(l, some, first, last);
  }
}

}  // namespace fuseline
