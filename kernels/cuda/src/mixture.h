// Attention as one pass over keys and values: a softmax over scores as they come (Milakov and Gimelshein, arXiv:1805.02867).
//
// A group of lanes, 1 to 32 of them, has every n-th position; each lane holds 8 elements of what the group reads. In the end a block
// puts its groups together. So scores take no memory, and there may be any number of positions.
#pragma once

#include <string.h>

#include "kernels.h"
#include "threads.h"

namespace fuseline::cuda {

constexpr int kHeld = 8;  // 16 bytes of halves, and 256 elements a warp
static_assert(kHeld * kWarp == kMostHeadSize, "a warp holds a head");

// How many lanes hold a head: a power of two, so that they lie in one warp.
inline int lanes_of(int head_size) {
  int lanes = 1;
  while (lanes * kHeld < head_size) lanes *= 2;
  return lanes;
}

// Where this thread is: which elements of a head it holds, and which positions its group has.
struct Place {
  __device__ Place(int lanes_, int threads, int size)
      : lanes(lanes_), groups(threads / lanes_), lane(threadIdx.x % lanes_), group(threadIdx.x / lanes_), first(lane * kHeld) {
    const int left = size - first;
    count = left < 0 ? 0 : left < kHeld ? left : kHeld;
  }
  int lanes, groups, lane, group;
  int first, count;
};

struct Held {
  float of[kHeld];
};

// A lane's elements of the head that begins at `head`; those beyond it are 0. whole: heads are multiples of 8 and lie on 16 bytes.
template <bool whole, class T>
__device__ inline Held load(const T* head, const Place& place) {
  Held held = {};
  const T* from = head + place.first;
  if constexpr (whole) {
    if (place.count == 0) return held;
    constexpr int kVectors = sizeof(T) * kHeld / sizeof(uint4);
    uint4 vectors[kVectors];
    for (int v = 0; v < kVectors; ++v) vectors[v] = reinterpret_cast<const uint4*>(from)[v];
    T elements[kHeld];
    memcpy(elements, vectors, sizeof elements);
    for (int i = 0; i < kHeld; ++i) held.of[i] = to_float(elements[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kHeld; ++i)
      if (i < place.count) held.of[i] = to_float(from[i]);
  }
  return held;
}

// The product of what the lanes of a group hold, in each of them. All lanes of the warp must come here.
__device__ inline float product(const Held& a, const Held& b, int lanes) {
  float sum = 0;
  for (int i = 0; i < kHeld; ++i) sum += a.of[i] * b.of[i];
  for (int apart = lanes / 2; apart > 0; apart /= 2) sum += __shfl_xor_sync(kAllLanes, sum, apart, kWarp);
  return sum;
}

// What a lane has of the values of the positions so far, each by the exponential of its score.
struct Mixture {
  float largest = -INFINITY, total = 0;
  Held mixed = {};

  // A NaN comes through: the largest passes it over, its exponential does not.
  __device__ void add(float score, const Held& value) {
    const float most = fmaxf(largest, score);
    const float before = largest == most ? 1.0f : expf(largest - most);
    const float weight = score == -INFINITY ? 0.0f : expf(score - most);
    total = total * before + weight;
    for (int i = 0; i < kHeld; ++i) mixed.of[i] = mixed.of[i] * before + weight * value.of[i];
    largest = most;
  }
};

// Puts the groups of a block together: out[d] for each element of the head. All threads must come here.
template <int Threads, class T>
__device__ inline void put_together(const Mixture& own, const Place& place, int size, T* out) {
  __shared__ float largest[Threads], totals[Threads], mixed[kHeld][Threads];
  __syncthreads();  // what a call before has left has been read
  if (place.lane == 0) {
    largest[place.group] = own.largest;
    totals[place.group] = own.total;
  }
  for (int i = 0; i < kHeld; ++i) mixed[i][threadIdx.x] = own.mixed.of[i];
  __syncthreads();
  for (int d = threadIdx.x; d < size; d += Threads) {
    float most = -INFINITY, total = 0, sum = 0;
    for (int g = 0; g < place.groups; ++g) most = fmaxf(most, largest[g]);
    for (int g = 0; g < place.groups; ++g) {
      // A group without positions has zeros.
      const float share = largest[g] == most || largest[g] == -INFINITY ? 1.0f : expf(largest[g] - most);
      total += totals[g] * share;
      sum += mixed[d % kHeld][g * place.lanes + d / kHeld] * share;
    }
    out[d] = from_float<T>(sum / total);
  }
}

// out[d] = value, for each element of a head.
template <class T>
__device__ inline void fill(float value, int size, T* out) {
  for (int d = threadIdx.x; d < size; d += blockDim.x) out[d] = from_float<T>(value);
}

// Whether heads can be read 16 bytes at a time.
template <class... Pointers>
bool lie_whole(int head_size, const Pointers*... pointers) {
  return head_size % kHeld == 0 && ((reinterpret_cast<uintptr_t>(pointers) % sizeof(uint4) == 0) && ...);
}

}  // namespace fuseline::cuda
