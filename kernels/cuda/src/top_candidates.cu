// TopCandidates: a block for each row. A thread has every 512th logit and knows the best that is left of its own. The best of all
// is taken k times; only the warp of the thread that had it looks through that thread's logits again.
#include "kernels.h"
#include "threads.h"

namespace fuseline::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;

__device__ inline float clean(float logit) { return logit == logit ? logit : -INFINITY; }

// A logit and its index as one number: larger where the logit is, of equal ones where the index is lower. Zero is below all.
__device__ inline unsigned long long key(float logit, int64_t index) {
  const unsigned bits = __float_as_uint(clean(logit) + 0.0f);  // -0 becomes 0
  const unsigned ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return static_cast<unsigned long long>(ordered) << 32 | static_cast<unsigned>(~static_cast<unsigned>(index));
}
__device__ inline int64_t index_of(unsigned long long key) { return static_cast<unsigned>(~static_cast<unsigned>(key)); }

__device__ inline unsigned long long larger(unsigned long long a, unsigned long long b) { return a > b ? a : b; }

// The best of the logits first, first + step ... that are below `bound`.
template <class T>
__device__ unsigned long long best_of(const T* logits, int64_t vocabulary, int64_t first, int64_t step, unsigned long long bound) {
  unsigned long long best = 0;
  for (int64_t i = first; i < vocabulary; i += step) {
    const unsigned long long found = key(to_float(logits[i]), i);
    if (found < bound && found > best) best = found;
  }
  return best;
}

template <class T>
__global__ void __launch_bounds__(kThreads) find_candidates(TopCandidates<T> t) {
  __shared__ unsigned long long best[2][kWarps];  // of each warp; a round reads one half and writes the other
  const int64_t row = blockIdx.x;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const T* const logits = t.logits + row * t.vocabulary;
  const auto most = [](unsigned long long a, unsigned long long b) { return larger(a, b); };

  unsigned long long mine = best_of(logits, t.vocabulary, threadIdx.x, kThreads, ~0ull);
  unsigned long long of_warp = over_warp(mine, most);
  float largest = 0;
  for (int64_t round = 0; round < t.k; ++round) {
    unsigned long long* const now = best[round % 2];
    if (lane == 0) now[warp] = of_warp;
    __syncthreads();
    unsigned long long taken = now[0];
    for (int w = 1; w < kWarps; ++w) taken = larger(taken, now[w]);
    const int64_t index = index_of(taken);
    const float value = clean(to_float(logits[index]));
    if (round == 0) largest = value;
    if (threadIdx.x == 0) {
      t.values[row * t.k + round] = value;
      t.indices[row * t.k + round] = index;
    }
    const int owner = static_cast<int>(index % kThreads);
    if (owner / kWarp != warp) continue;
    // All lanes look through what the owner has.
    const int64_t first = owner + static_cast<int64_t>(lane) * kThreads;
    const unsigned long long next = over_warp(best_of(logits, t.vocabulary, first, kThreads * kWarp, taken), most);
    if (lane == owner % kWarp) mine = next;
    of_warp = over_warp(mine, most);
  }

  float sum = 0;
  for (int64_t i = threadIdx.x; i < t.vocabulary; i += kThreads) {
    const float logit = clean(to_float(logits[i]));
    // An infinite logit is not taken from itself: it is infinitely more than the others, and of nothing but -inf the sum is 0.
    sum += expf(isinf(largest) ? logit : logit - largest);
  }
  sum = over_block<kThreads>(sum);
  if (threadIdx.x == 0) t.logsumexp[row] = logf(sum) + (isinf(largest) ? 0.0f : largest);
}

}  // namespace

template <class T>
cudaError_t top_candidates(const TopCandidates<T>& t, cudaStream_t stream) {
  return launch(find_candidates<T>, dim3(static_cast<unsigned>(t.rows)), kThreads, stream, t);
}

template cudaError_t top_candidates(const TopCandidates<float>&, cudaStream_t);
template cudaError_t top_candidates(const TopCandidates<__half>&, cudaStream_t);

}  // namespace fuseline::cuda
