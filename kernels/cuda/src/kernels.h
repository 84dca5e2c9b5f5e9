// The CUDA kernels by what they are given. Pointers are to the device's memory, also those to positions, tables and lengths, so
// that a captured graph of a step can be run again for the next one. Nothing here waits for the device: what a kernel cannot
// compute because of a number that only the device has seen, it answers with NaN, and writes nowhere else.
//
// Dimensions are those of kernels/bodies.py: R rows, T tokens, N = R x T, C capacity, B inputs, S positions, H heads, D head size,
// E = H x D, V vocabulary. T stands for float or __half, and so does what else is a template's.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

namespace fuseline::cuda {

constexpr int kMostHeadSize = 256;  // of attention
constexpr int64_t kMostHeads = 65535;  // a grid's second size

struct Heads {
  int heads, head_size;
  float scale;
};

template <class T>
struct SelfAttention : Heads {
  int64_t rows, tokens, capacity;
  const T* qkv;                // [N, 3 E]
  const int64_t* position;     // [1]
  const int64_t* beam_table;   // [R, C]
  const float* distance_bias;  // [H, distances], or null
  int64_t distances;
  T *key, *value;  // [C, R, E], whose old positions are read and whose new ones are written
  T* mixed;        // [N, E]
};

// What reads from where: from one input, position and head to the next one.
struct Strides {
  int64_t input, position, head;
};

template <class Query, class Stored>
struct CrossAttention : Heads {
  int64_t inputs, queries, positions;  // queries: of each input
  const Query* query;          // [B x queries, E]
  const Stored *key, *value;   // [B, S, E] or [B, H, S, D], as strides say
  Strides strides;
  const int64_t* lengths;      // [B, 1], or null
  Query* mixed;                // [B x queries, E]
};

template <class T>
struct Norm {
  int64_t rows, width;
  float epsilon;
  const T *x, *residual, *scale, *bias;  // [rows, width] twice, [width] twice; without a residual and a bias it is an RMS norm
  T *y, *sum;                            // sum: null where there is no residual
};

template <class T>
struct TopCandidates {
  int64_t rows, vocabulary, k;
  const T* logits;
  float* values;     // [R, k]
  int64_t* indices;  // [R, k]
  float* logsumexp;  // [R]
};

// Each puts one kernel into the stream and returns what CUDA says of that. Sizes are at least 1.
template <class T>
cudaError_t self_attention(const SelfAttention<T>& a, cudaStream_t stream);
template <class Query, class Stored>
cudaError_t cross_attention(const CrossAttention<Query, Stored>& a, cudaStream_t stream);
template <class T>
cudaError_t norm(const Norm<T>& n, cudaStream_t stream);
template <class T>
cudaError_t top_candidates(const TopCandidates<T>& t, cudaStream_t stream);

}  // namespace fuseline::cuda
