// What attention is to the instruction sets: one row of queries, its keys and values at given places.
#pragma once

#include "fuseline_kernels.h"

namespace fuseline {

namespace {  // for the reason given in top_candidates_rows.h

// So many floats as whole vectors hold, of any instruction set.
inline int64_t whole(int64_t floats) { return (floats + 15) / 16 * 16; }

// An encoder's attention: the queries of a job, the positions whose scores are held at once, and the most queries that have some at
// the same time.
constexpr int64_t kBlockQueries = 64, kBlockPositions = 256, kScoredQueries = 8;

inline bool windowed(const fuseline_encoder_attention& a) { return a.windows > 0; }
// Positions that see each other: those of an input, or of a window.
inline int64_t encoder_positions(const fuseline_encoder_attention& a) { return windowed(a) ? a.positions / a.windows : a.positions; }
// Windows of an input; one that has none is one.
inline int64_t encoder_windows(const fuseline_encoder_attention& a) { return windowed(a) ? a.windows : 1; }
inline int64_t encoder_blocks(const fuseline_encoder_attention& a) {
  return (encoder_positions(a) + kBlockQueries - 1) / kBlockQueries;
}

// Scratch memory of an encoder's attention; what begins with `job` is of a job's queries.
struct EncoderParts {
  float *keys, *values, *regions;   // [blocks of 16 positions, size, 16]; [positions, whole(size)]; [whole(positions)]
  float *job_queries, *job_mixed;   // [queries, whole(size)] each
  float *job_most, *job_total;      // a number a query, and as many more as a vector reaches beyond
  float* scores;                    // [kScoredQueries, kBlockPositions]
};
constexpr int64_t kSlots = kBlockQueries + 16;

// How many floats of scratch memory they need. Each begins where a line of the cache does: a vector that lies in two lines takes
// twice as long, and keys and values are read over and over.
inline int64_t encoder_parts(const fuseline_encoder_attention& a, float* scratch, EncoderParts* parts) {
  constexpr int64_t kLineFloats = 16;
  const int64_t positions = encoder_positions(a), size = whole(a.head_size);
  const auto odd = static_cast<int64_t>(reinterpret_cast<uintptr_t>(scratch) / sizeof(float) % kLineFloats);
  int64_t used = (kLineFloats - odd) % kLineFloats;
  const auto part = [&](float*& of, int64_t floats) {
    of = scratch == nullptr ? nullptr : scratch + used;
    used += floats;
  };
  part(parts->keys, whole(positions) * a.head_size);
  part(parts->values, positions * size);
  part(parts->regions, a.regions == nullptr ? 0 : whole(positions));
  part(parts->job_queries, kBlockQueries * size);
  part(parts->job_mixed, kBlockQueries * size);
  part(parts->job_most, kSlots);
  part(parts->job_total, kSlots);
  part(parts->scores, kScoredQueries * kBlockPositions);
  return used + kLineFloats;
}

// Of cross-attention to several sources with a softmax each: the numbers of a source and head that are kept until all are done, largest
// scores and sums of exponentials of as many queries as a vector has lanes.
constexpr int64_t kFoundNumbers = 32;

}  // namespace

// Jobs [first, last) as fuseline_kernels.h counts them. scratch: of this thread's own, as large as the functions there say.
typedef void SelfAttention(const fuseline_self_attention& a, int64_t first, int64_t last, float* scratch);
typedef void CrossAttention(const fuseline_cross_attention& a, int64_t first, int64_t last, float* scratch);
typedef void SourcesAttention(const fuseline_sources_attention& a, int64_t first, int64_t last, float* scratch);
typedef void EncoderAttention(const fuseline_encoder_attention& a, int64_t first, int64_t last, float* scratch);
typedef void ToHalves(const fuseline_halves& conversion);

SelfAttention self_attention_scalar, self_attention_avx2, self_attention_avx512, self_attention_neon;
CrossAttention cross_attention_scalar, cross_attention_avx2, cross_attention_avx512, cross_attention_neon;
SourcesAttention sources_attention_scalar, sources_attention_avx2, sources_attention_avx512, sources_attention_neon;
EncoderAttention encoder_attention_scalar, encoder_attention_avx2, encoder_attention_avx512, encoder_attention_avx512bf16,
    encoder_attention_neon, encoder_attention_neonbf16;
ToHalves to_halves_scalar, to_halves_avx2, to_halves_avx512, to_halves_neon;

}  // namespace fuseline
