// CUDA's language on the CPU, as far as kernels/cuda uses it: a block is as many fibers as it has threads, or threads of the
// operating system, of which sanitizers see what they do at the same time. Blocks run one after the other, in no order that a kernel
// could count on, and a warp's lanes wait for each other at each exchange. It is no GPU: nothing here tells of its arithmetic, its
// limits or its speed, nor of two blocks that write at once.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <mutex>
#include <random>
#include <vector>

#include "cuda_runtime_api.h"
#ifdef FUSELINE_REAL_THREADS
#include "real_threads.h"
#else
#include "fibers.h"
#endif

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(threads)
#ifdef FUSELINE_POISON
// What a block finds in shared memory is of no use to it: NaN, here.
#define __shared__ static __attribute__((section("cuda_shared")))
extern "C" __attribute__((weak)) char __start_cuda_shared[];
extern "C" __attribute__((weak)) char __stop_cuda_shared[];
#else
#define __shared__ static  // where AddressSanitizer sees its bounds
#endif

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3() = default;
  dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

namespace host {

constexpr unsigned kWarp = 32;

struct Warp {
  Barrier barrier{kWarp};
  unsigned long long lanes[kWarp] = {};
};

struct Block {
  explicit Block(unsigned threads) : barrier(threads), warps(threads / kWarp) {}
  Barrier barrier;
  std::vector<Warp> warps;
};

#ifdef FUSELINE_REAL_THREADS
#define FUSELINE_OF_A_THREAD inline thread_local
#else
#define FUSELINE_OF_A_THREAD inline
#endif
FUSELINE_OF_A_THREAD Block* block = nullptr;

}  // namespace host

FUSELINE_OF_A_THREAD dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace host {

// Fibers share the variables of their thread.
inline void wait(Barrier& barrier) {
  const dim3 self = threadIdx;
  barrier.wait();
  threadIdx = self;
}

}  // namespace host

inline void __syncthreads() { host::wait(host::block->barrier); }

template <class Value>
Value __shfl_xor_sync(unsigned, Value value, int apart, int) {
  static_assert(sizeof(Value) <= sizeof(unsigned long long));
  host::Warp& warp = host::block->warps[threadIdx.x / host::kWarp];
  const unsigned lane = threadIdx.x % host::kWarp;
  memcpy(&warp.lanes[lane], &value, sizeof value);
  host::wait(warp.barrier);
  memcpy(&value, &warp.lanes[lane ^ static_cast<unsigned>(apart)], sizeof value);
  host::wait(warp.barrier);  // all have read
  return value;
}

inline unsigned __float_as_uint(float x) {
  unsigned bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
  static std::mutex one_at_a_time;
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  const dim3 grid = config->gridDim;
  const unsigned threads = config->blockDim.x;
  if (threads == 0 || threads > 1024 || threads % host::kWarp != 0 || grid.x == 0 || grid.x > INT32_MAX || grid.y == 0 ||
      grid.y > 65535 || config->blockDim.y != 1 || grid.z != 1)
    return 9;  // cudaErrorInvalidConfiguration
  std::vector<dim3> blocks;
  for (unsigned y = 0; y < grid.y; ++y)
    for (unsigned x = 0; x < grid.x; ++x) blocks.emplace_back(x, y, 0);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(grid.x));
  host::Block block(threads);
  host::together(threads, [&](unsigned thread) {
    host::block = &block;
    blockDim = config->blockDim;
    gridDim = grid;
    for (const dim3& each : blocks) {
      threadIdx = dim3(thread, 0, 0);
      blockIdx = each;
#ifdef FUSELINE_POISON
      if (thread == 0) memset(__start_cuda_shared, 0xff, static_cast<size_t>(__stop_cuda_shared - __start_cuda_shared));
#endif
      host::wait(block.barrier);
      kernel(arguments...);
      host::wait(block.barrier);
    }
  });
  return 0;
}
