// What a linear layer is to the instruction sets: fuseline_linear with its activations prepared.
#pragma once

#include "fuseline_kernels.h"

namespace fuseline {

constexpr int64_t kBlockOutputs = 16;  // outputs whose weights lie together
constexpr int64_t kManyRows = 28;     // from so many on the arithmetic takes the time, and no longer reading the weights
constexpr int64_t kTileRows = 16;      // rows that an instruction may read at once

namespace {  // for the reason given in top_candidates_rows.h

// A scale must be finite and not zero; one of float16 is told by its bits.
inline bool usable(uint16_t half) { return (half & 0x7fff) != 0 && (half & 0x7c00) != 0x7c00; }
inline bool usable(float scale) { return scale != 0 && scale - scale == 0; }

}  // namespace

// How AVX2 multiplies a row in 8 bits (linear_pairs.h), from the fastest way to the one that is always possible; and what it multiplies
// apart from the row's other codes, of a quad of inputs each.
enum class Way : int32_t { kFours, kTwos, kSigns };
struct Multiplied {
  Way way;
  int32_t apart;  // how many
};
struct Apart {
  int32_t quad;
  int8_t codes[4];
};
constexpr int64_t most_apart(int64_t padded) { return padded / 32; }

// Activations as they are multiplied, made once a call in the caller's scratch memory: integers, bfloat16, or many rows of floats.
struct Prepared {
  int8_t* codes;      // [rows, padded], and as many bytes after them as whole tiles of kTileRows rows have; see `grouped`
  float* scales;      // [rows]
  int32_t* sums;      // [rows, groups], sums of the codes of each group
  float* floats;      // in each instruction set's own order (linear_many.h), of bfloat16 perhaps in pairs
  int64_t padded;     // inputs, rounded up to what the weights have
  int64_t groups;     // of inputs that share a weight scale; 1 in 8 bits
  Multiplied* multiplied;  // [rows]; null where all rows are multiplied one way
  Apart* apart;       // [rows, most_apart(padded)]
  bool grouped;       // whether an instruction set that would rather have codes in groups of rows (linear_many.h) may have that
};

// The rows [first, last) of x.
typedef void PrepareRows(const fuseline_linear& layer, const Prepared& into, int64_t first, int64_t last);
// The outputs of the blocks [first, last) for all rows.
typedef void LinearBlocks(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t last);

PrepareRows prepare_rows_scalar, prepare_rows_avx2, prepare_rows_avx512, prepare_rows_avx512bf16, prepare_rows_amx,
    prepare_rows_neon, prepare_rows_neonbf16;
LinearBlocks linear_blocks_scalar, linear_blocks_avx2, linear_blocks_avx512, linear_blocks_avx512bf16, linear_blocks_amx,
    linear_blocks_neon, linear_blocks_neonbf16;
// The two layers of inverted bottlenecks, in 8 bits (linear_bottleneck.h). Of the first each set reads its activations in a way of its
// own; `blocks` blocks from `first` on, of row r to to[r], [blocks][16]. The second has few kinds of activations: from 0 to 127.
typedef void WidenRows(const fuseline_linear& layer, const Prepared& x, int64_t first, int64_t blocks, float* const* to);
PrepareRows read_rows_avx512;
WidenRows widen_scalar, widen_avx2, widen_avx512, widen_neon;
LinearBlocks narrow_scalar, narrow_avx2, narrow_avx512, narrow_amx, narrow_neon;

}  // namespace fuseline
