// The algorithm of resizing, sixteen bytes at a time: of a column of sixteen rows, or of a row.
#pragma once

#include "resizing.h"
#include "vectors.h"

namespace fuseline {
namespace {

typedef uint8_t Bytes __attribute__((vector_size(16)));

// Sums as the bytes that they come to.
inline Bytes to_bytes(Integers sums) {
  const Integers positive = larger(sums >> kTapBits, Integers{});
  const Integers whole = -larger(-positive + 255, Integers{}) + 255;  // at most 255
  Bytes bytes;
  int8_t shifted[16];  // the same less 128, which are written as what they are
  write_bytes(shifted, whole - 128);
  memcpy(&bytes, shifted, sizeof bytes);
  return bytes ^ 0x80;
}

inline Integers of_bytes(const uint8_t* p) {
#if defined(__AVX512F__)
  return reinterpret_cast<Integers>(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__AVX2__)
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {reinterpret_cast<Ints>(_mm256_cvtepu8_epi32(bytes)), reinterpret_cast<Ints>(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)))};
#else
  int32_t lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = p[i];
  Integers v;
  read(lanes, v);
  return v;
#endif
}

inline Integers half() { return Integers{} + (1 << (kTapBits - 1)); }

// The bytes of two in turns: of their first halves, and of their second ones.
#if defined(__clang__)
#define FUSELINE_IN_TURNS(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define FUSELINE_IN_TURNS(a, b, ...) __builtin_shuffle(a, b, Bytes{__VA_ARGS__})
#endif
inline Bytes first_halves(Bytes a, Bytes b) {
  return FUSELINE_IN_TURNS(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
inline Bytes second_halves(Bytes a, Bytes b) {
  return FUSELINE_IN_TURNS(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
#undef FUSELINE_IN_TURNS

// Sixteen rows of sixteen bytes, turned: after four rounds of that all lie as columns.
inline void turn(Bytes (&v)[16]) {
  for (int round = 0; round < 4; ++round) {
    Bytes next[16];
    for (int i = 0; i < 8; ++i) {
      next[2 * i] = first_halves(v[i], v[i + 8]);
      next[2 * i + 1] = second_halves(v[i], v[i + 8]);
    }
    memcpy(v, next, sizeof v);
  }
}

// Of up to sixteen rows, `row` bytes apart, the columns, [bytes, 16] and on to a number of them that sixteen divides.
inline void columns_of(const uint8_t* from, int64_t row, int64_t rows, int64_t bytes, uint8_t* to) {
  for (int64_t at = 0; at < bytes; at += 16) {
    Bytes v[16] = {};
    const auto n = static_cast<size_t>(bytes - at < 16 ? bytes - at : 16);
    for (int64_t r = 0; r < rows; ++r) memcpy(&v[r], from + r * row + at, n);
    turn(v);
    memcpy(to + at * 16, v, sizeof v);
  }
}

// The same back.
inline void rows_of_columns(const uint8_t* from, int64_t row, int64_t rows, int64_t bytes, uint8_t* to) {
  for (int64_t at = 0; at < bytes; at += 16) {
    Bytes v[16];
    memcpy(v, from + at * 16, sizeof v);
    turn(v);
    const auto n = static_cast<size_t>(bytes - at < 16 ? bytes - at : 16);
    for (int64_t r = 0; r < rows; ++r) memcpy(to + r * row + at, &v[r], n);
  }
}

inline void resize_rows(const Taps& taps, const uint8_t* pixels, int64_t rows, int64_t width, uint8_t* to, int64_t to_row,
                        uint8_t* scratch) {
  uint8_t* const results = scratch + (width * 3 + 16) * 16;
  for (int64_t row = 0; row < rows; row += 16) {
    const int64_t there = rows - row < 16 ? rows - row : 16;
    columns_of(pixels + row * width * 3, width * 3, there, width * 3, scratch);
    for (int64_t i = 0; i < taps.results; ++i) {
      const uint8_t* p = scratch + taps.first[i] * 3 * 16;
      const int32_t* w = taps.weights + i * taps.most;
      Integers sums[3] = {half(), half(), half()};
      for (int64_t k = 0; k < taps.count[i]; ++k, p += 3 * 16)
        repeat<3>([&](int c) { sums[c] += of_bytes(p + c * 16) * w[k]; });
      repeat<3>([&](int c) {
        const Bytes bytes = to_bytes(sums[c]);
        memcpy(results + (i * 3 + c) * 16, &bytes, sizeof bytes);
      });
    }
    rows_of_columns(results, to_row, there, taps.results * 3, to + row * to_row);
  }
}

inline void resize_columns(const Taps& taps, const uint8_t* pixels, int64_t top, int64_t row, int64_t bytes, uint8_t* to) {
  for (int64_t i = 0; i < taps.results; ++i, to += bytes) {
    const uint8_t* from = pixels + (taps.first[i] - top) * row;
    const int32_t* w = taps.weights + i * taps.most;
    for (int64_t at = 0; at < bytes; at += 16) {
      Integers sums = half();
      for (int64_t k = 0; k < taps.count[i]; ++k) sums += of_bytes(from + k * row + at) * w[k];
      const Bytes found = to_bytes(sums);
      memcpy(to + at, &found, static_cast<size_t>(bytes - at < 16 ? bytes - at : 16));
    }
  }
}

}  // namespace
}  // namespace fuseline
