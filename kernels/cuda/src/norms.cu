// RMSNorm and AddLayerNorm: a block for each row. Sums are of floats, also where all else is halves.
#include "kernels.h"
#include "threads.h"

namespace fuseline::cuda {
namespace {

constexpr int kThreads = 256;

// The mean first and then the mean square of what is left, so that a large mean costs no digits.
template <class T>
__global__ void __launch_bounds__(kThreads) add_layer_norm(Norm<T> n) {
  const int64_t row = blockIdx.x * n.width;
  const T *const x = n.x + row, *const residual = n.residual + row;
  const auto added = [&](int64_t i) { return to_float(x[i]) + to_float(residual[i]); };
  float sum = 0, square = 0;
  for (int64_t i = threadIdx.x; i < n.width; i += kThreads) sum += added(i);
  const float mean = over_block<kThreads>(sum) / static_cast<float>(n.width);
  for (int64_t i = threadIdx.x; i < n.width; i += kThreads) square += (added(i) - mean) * (added(i) - mean);
  const float factor = 1.0f / sqrtf(over_block<kThreads>(square) / static_cast<float>(n.width) + n.epsilon);
  for (int64_t i = threadIdx.x; i < n.width; i += kThreads) {
    n.y[row + i] = from_float<T>((added(i) - mean) * factor * to_float(n.scale[i]) + to_float(n.bias[i]));
    n.sum[row + i] = from_float<T>(added(i));
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) rms_norm(Norm<T> n) {
  const int64_t row = blockIdx.x * n.width;
  const T* const x = n.x + row;
  float square = 0;
  for (int64_t i = threadIdx.x; i < n.width; i += kThreads) square += to_float(x[i]) * to_float(x[i]);
  const float factor = 1.0f / sqrtf(over_block<kThreads>(square) / static_cast<float>(n.width) + n.epsilon);
  for (int64_t i = threadIdx.x; i < n.width; i += kThreads)
    n.y[row + i] = from_float<T>(to_float(x[i]) * factor * to_float(n.scale[i]));
}

}  // namespace

template <class T>
cudaError_t norm(const Norm<T>& n, cudaStream_t stream) {
  const auto kernel = n.residual != nullptr ? add_layer_norm<T> : rms_norm<T>;
  return launch(kernel, dim3(static_cast<unsigned>(n.rows)), kThreads, stream, n);
}

template cudaError_t norm(const Norm<float>&, cudaStream_t);
template cudaError_t norm(const Norm<__half>&, cudaStream_t);

}  // namespace fuseline::cuda
