// What kernels share: numbers as floats, sums over a block, and how a kernel is started.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <math.h>
#include <stdint.h>

namespace fuseline::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }

template <class T>
__device__ T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline __half from_float<__half>(float x) {
  return __float2half_rn(x);
}

// combine(a, b) over the 32 lanes of a warp, in each of them.
template <class Value, class Combine>
__device__ inline Value over_warp(Value value, const Combine& combine) {
  for (int apart = kWarp / 2; apart > 0; apart /= 2) value = combine(value, __shfl_xor_sync(kAllLanes, value, apart, kWarp));
  return value;
}

// The sum over a block of Threads threads, in each of them. All must come here, and the block's part of memory is free again
// once they have come to the next one.
template <int Threads>
__device__ inline float over_block(float value) {
  static_assert(Threads % kWarp == 0 && Threads / kWarp <= kWarp, "whole warps, each with a lane of the last sum");
  __shared__ float sums[Threads / kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const auto add = [](float a, float b) { return a + b; };
  value = over_warp(value, add);
  __syncthreads();  // the sums of a call before have been read
  if (lane == 0) sums[warp] = value;
  __syncthreads();
  return over_warp(lane < Threads / kWarp ? sums[lane] : 0.0f, add);
}

template <class... Parameters>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, int threads, cudaStream_t stream, const Parameters&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

}  // namespace fuseline::cuda
