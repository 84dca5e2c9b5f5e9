// Resizing for the instruction set scalar, which the compiler is told of; the algorithm is in resizing_rows.h.
#include "resizing_rows.h"

namespace fuseline {

void resize_rows_scalar(const Taps& taps, const uint8_t* pixels, int64_t rows, int64_t width, uint8_t* to, int64_t to_row,
                    uint8_t* scratch) {
  resize_rows(taps, pixels, rows, width, to, to_row, scratch);
}

void resize_columns_scalar(const Taps& taps, const uint8_t* pixels, int64_t top, int64_t row, int64_t bytes, uint8_t* to) {
  resize_columns(taps, pixels, top, row, bytes, to);
}

}  // namespace fuseline
