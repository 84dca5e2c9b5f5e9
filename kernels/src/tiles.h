// AMX's tiles: eight registers of 16 rows of 64 bytes, and the product of two of them.
//
// Written as instructions, since compilers know them only with a flag of theirs and only by numbers written out. With
// FUSELINE_EMULATED_TILES the same in plain code, for tests on CPUs that have no tiles.
#pragma once

#include <string.h>

#include "linear.h"

namespace fuseline {
namespace {  // for the reason given in top_candidates_rows.h

constexpr int64_t kTileBytes = 64;  // of a row

#ifndef FUSELINE_EMULATED_TILES

// The registers are the thread's own while this lives. Intel, Software Developer's Manual, volume 1, 18: LDTILECFG.
class Tiles {
 public:
  Tiles() {
    struct {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } shape;
    for (int t = 0; t < 8; ++t) {
      shape.row_bytes[t] = kTileBytes;
      shape.rows[t] = kTileRows;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(shape));
  }
  ~Tiles() { __asm__ volatile("tilerelease"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  template <int t>
  void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(t));
  }
  // Rows that lie `stride` bytes apart.
  template <int t>
  void load(const void* rows, int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(rows), "r"(stride), "i"(t) : "memory");
  }
  // One row after the other.
  template <int t>
  void store(void* rows) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(rows), "r"(kTileBytes), "i"(t) : "memory");
  }
  // 16 x 16 sums of int32 += 16 rows of 64 signed bytes x 64 unsigned bytes of 16 columns, which lie in fours.
  template <int sums, int rows, int columns>
  void multiply() {
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sums), "i"(rows), "i"(columns));
  }
  // The same of float32 and bfloat16: 32 numbers a row, the columns' in pairs.
  template <int sums, int rows, int columns>
  void multiply_bfloat16() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sums), "i"(rows), "i"(columns));
  }
};

#else

class Tiles {
 public:
  template <int t>
  void zero() {
    memset(tiles_[t], 0, sizeof tiles_[t]);
  }
  template <int t>
  void load(const void* rows, int64_t stride) {
    for (int64_t r = 0; r < kTileRows; ++r) memcpy(tiles_[t][r], static_cast<const char*>(rows) + r * stride, kTileBytes);
  }
  template <int t>
  void store(void* rows) {
    memcpy(rows, tiles_[t], sizeof tiles_[t]);
  }
  template <int sums, int rows, int columns>
  void multiply() {
    for (int64_t r = 0; r < kTileRows; ++r)
      for (int64_t c = 0; c < kTileRows; ++c) {
        int32_t sum;
        memcpy(&sum, tiles_[sums][r] + 4 * c, sizeof sum);
        for (int64_t i = 0; i < kTileBytes; ++i)
          sum += static_cast<int8_t>(tiles_[rows][r][i]) * tiles_[columns][i / 4][4 * c + i % 4];
        memcpy(tiles_[sums][r] + 4 * c, &sum, sizeof sum);
      }
  }
  // Both halves of all pairs are added up alone first (volume 2, TDPBF16PS).
  template <int sums, int rows, int columns>
  void multiply_bfloat16() {
    for (int64_t r = 0; r < kTileRows; ++r)
      for (int64_t c = 0; c < kTileRows; ++c) {
        float sum, halves[2] = {};
        memcpy(&sum, tiles_[sums][r] + 4 * c, sizeof sum);
        for (int64_t i = 0; i < kTileBytes / 2; ++i)
          halves[i % 2] += number(tiles_[rows][r] + 2 * i) * number(tiles_[columns][i / 2] + 4 * c + 2 * (i % 2));
        sum += halves[0] + halves[1];
        memcpy(tiles_[sums][r] + 4 * c, &sum, sizeof sum);
      }
  }

 private:
  static float number(const uint8_t* bfloat16) {
    float x = 0;
    memcpy(reinterpret_cast<char*>(&x) + 2, bfloat16, 2);
    return x;
  }

  uint8_t tiles_[8][kTileRows][kTileBytes];
};

#endif

}  // namespace
}  // namespace fuseline
