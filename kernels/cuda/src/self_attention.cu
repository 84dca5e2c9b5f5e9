// CachedSelfAttention and BiasedCachedSelfAttention: a block for each query and head.
//
// Old positions are read from the cache, in the row that the beam table names, so beams change places without a copy. New
// positions are read from qkv and written to the cache: no block reads what another one writes.
#include "mixture.h"

namespace fuseline::cuda {
namespace {

constexpr int kThreads = 128;

template <bool whole, class T>
__global__ void __launch_bounds__(kThreads) attend_to_cache(SelfAttention<T> a, int lanes) {
  const Place place(lanes, kThreads, a.head_size);
  const int64_t n = blockIdx.x, row = n / a.tokens, token = n % a.tokens, head = blockIdx.y;
  const int64_t width = static_cast<int64_t>(a.heads) * a.head_size, at = head * a.head_size;
  const int64_t start = *a.position;
  T* const mixed = a.mixed + n * width + at;
  if (start < 0 || start > a.capacity - a.tokens) return fill(NAN, a.head_size, mixed);

  const T* const own = a.qkv + n * 3 * width + at;
  const int64_t line = ((start + token) * a.rows + row) * width + at;
  for (int d = threadIdx.x; d < a.head_size; d += kThreads) {
    a.key[line + d] = own[width + d];
    a.value[line + d] = own[2 * width + d];
  }

  const Held query = load<whole>(own, place);
  const int64_t* const table = a.beam_table + row * a.capacity;
  const int64_t last = start + token;
  Mixture mixture;
  // Lanes of a warp go through the loop equally often, since they add up their products together.
  for (int64_t first = 0; first <= last; first += place.groups) {
    const int64_t p = first + place.group;
    const int64_t from = p <= last ? table[p] : 0;
    const bool there = p <= last && from >= 0 && from < a.rows;
    Held key = {}, value = {};
    if (there) {
      const T* const fresh = a.qkv + ((from * a.tokens + p - start) * 3 + 1) * width + at;
      const int64_t old = (p * a.rows + from) * width + at;
      key = load<whole>(p < start ? a.key + old : fresh, place);
      value = load<whole>(p < start ? a.value + old : fresh + width, place);
    }
    float score = product(query, key, lanes) * a.scale;
    if (p > last) continue;
    if (a.distance_bias != nullptr) {
      const int64_t distance = last - p < a.distances ? last - p : a.distances - 1;
      score += a.distance_bias[head * a.distances + distance];
    }
    mixture.add(there ? score : NAN, value);
  }
  put_together<kThreads>(mixture, place, a.head_size, mixed);
}

}  // namespace

template <class T>
cudaError_t self_attention(const SelfAttention<T>& a, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(a.rows * a.tokens), static_cast<unsigned>(a.heads));
  const auto kernel = lie_whole(a.head_size, a.qkv, a.key, a.value) ? attend_to_cache<true, T> : attend_to_cache<false, T>;
  return launch(kernel, grid, kThreads, stream, a, lanes_of(a.head_size));
}

template cudaError_t self_attention(const SelfAttention<float>&, cudaStream_t);
template cudaError_t self_attention(const SelfAttention<__half>&, cudaStream_t);

}  // namespace fuseline::cuda
