// CrossAttention and PaddedCrossAttention: a block for each input, head and up to 4 queries, which share what it reads of keys and
// values. What lies beyond an input's length is not read.
#include "mixture.h"

namespace fuseline::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kQueries = 4;  // loops over them are unrolled, so that what they hold is in registers

template <bool whole, class Query, class Stored>
__global__ void __launch_bounds__(kThreads) attend_to_source(CrossAttention<Query, Stored> a, int lanes) {
  const Place place(lanes, kThreads, a.head_size);
  const int64_t blocks = (a.queries + kQueries - 1) / kQueries, input = blockIdx.x / blocks, head = blockIdx.y;
  const int64_t begin = blockIdx.x % blocks * kQueries, left = a.queries - begin;
  const int count = left < kQueries ? static_cast<int>(left) : kQueries;
  const int64_t width = static_cast<int64_t>(a.heads) * a.head_size;
  const int64_t of_query = (input * a.queries + begin) * width + head * a.head_size;
  Query* const mixed = a.mixed + of_query;

  const int64_t length = a.lengths == nullptr ? a.positions : a.lengths[input];
  if (length <= 0 || length > a.positions) {
    for (int q = 0; q < count; ++q) fill(length == 0 ? 0.0f : NAN, a.head_size, mixed + q * width);
    return;
  }

  Held queries[kQueries] = {};
#pragma unroll
  for (int q = 0; q < kQueries; ++q)
    if (q < count) queries[q] = load<whole>(a.query + of_query + q * width, place);
  Mixture mixtures[kQueries];
  const int64_t of_source = input * a.strides.input + head * a.strides.head;
  for (int64_t first = 0; first < length; first += place.groups) {
    const int64_t p = first + place.group, at = of_source + p * a.strides.position;
    Held key = {}, value = {};
    if (p < length) {
      key = load<whole>(a.key + at, place);
      value = load<whole>(a.value + at, place);
    }
#pragma unroll
    for (int q = 0; q < kQueries; ++q) {
      const float score = product(queries[q], key, lanes) * a.scale;
      if (p < length) mixtures[q].add(score, value);
    }
  }
#pragma unroll
  for (int q = 0; q < kQueries; ++q)
    if (q < count) put_together<kThreads>(mixtures[q], place, a.head_size, mixed + q * width);
}

}  // namespace

template <class Query, class Stored>
cudaError_t cross_attention(const CrossAttention<Query, Stored>& a, cudaStream_t stream) {
  const int64_t blocks = (a.queries + kQueries - 1) / kQueries;
  const dim3 grid(static_cast<unsigned>(a.inputs * blocks), static_cast<unsigned>(a.heads));
  const bool whole = lie_whole(a.head_size, a.query, a.key, a.value);
  const auto kernel = whole ? attend_to_source<true, Query, Stored> : attend_to_source<false, Query, Stored>;
  return launch(kernel, grid, kThreads, stream, a, lanes_of(a.head_size));
}

template cudaError_t cross_attention(const CrossAttention<float, float>&, cudaStream_t);
template cudaError_t cross_attention(const CrossAttention<float, __half>&, cudaStream_t);
template cudaError_t cross_attention(const CrossAttention<__half, __half>&, cudaStream_t);

}  // namespace fuseline::cuda
