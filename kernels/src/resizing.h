// What resizing a photo is to the instruction sets.
#pragma once

#include <stdint.h>

namespace fuseline {

// How one side of a photo is resized, as Pillow does it: each result is made of some pixels, each times a whole number.
struct Taps {
  int64_t results, most;   // most: numbers that a result has room for
  const int64_t* first;    // [results], the first pixel of each
  const int64_t* count;    // [results], how many there are
  const int32_t* weights;  // [results, most]
};

constexpr int kTapBits = 22;  // of a weight after the point

// Along rows: of pixels [rows, width, 3] to [rows, results, 3], in steps of `to_row` bytes. scratch: resize_rows_bytes of them.
typedef void ResizeRows(const Taps& taps, const uint8_t* pixels, int64_t rows, int64_t width, uint8_t* to, int64_t to_row,
                        uint8_t* scratch);
// Along columns: of rows of `bytes`, from the row `top` on, to rows of `bytes` side by side. Those that are read lie `row` bytes apart,
// up to a number of bytes that 16 divides.
typedef void ResizeColumns(const Taps& taps, const uint8_t* pixels, int64_t top, int64_t row, int64_t bytes, uint8_t* to);

// 16 rows of pixels, and of results, each with what belongs together side by side.
inline int64_t resize_rows_bytes(int64_t width, int64_t results) { return (width * 3 + 16 + results * 3 + 16) * 16; }

// The functions of an instruction set.
struct Resizing {
  ResizeRows* rows;
  ResizeColumns* columns;
};

// Those of the one in use.
Resizing resizing_in_use();

ResizeRows resize_rows_scalar, resize_rows_avx2, resize_rows_avx512, resize_rows_neon;
ResizeColumns resize_columns_scalar, resize_columns_avx2, resize_columns_avx512, resize_columns_neon;

}  // namespace fuseline
