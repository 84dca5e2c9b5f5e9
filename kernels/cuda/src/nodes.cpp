// Shapes are checked here, and kernels started; numbers that the device has are for the kernels.
#include "nodes.h"

#include <cuda_fp16.h>
#include <stdio.h>

#include "kernels.h"
#include "onnxruntime_attention.h"

namespace fuseline::cuda {
namespace {

constexpr int64_t kMostElements = kMostBytes / 8;
constexpr int64_t kMostBlocks = INT32_MAX;  // a grid's first size

OrtStatus* describe(const Node& node, const OrtTensorTypeAndShapeInfo* info, Tensor* into) {
  TRY(node.api.rank(info, &into->shape.rank));
  if (into->shape.rank > kMostDimensions) return refuse(node, "an input has too many dimensions");
  TRY(node.api.dimensions(info, into->shape.of, into->shape.rank));
  return into->shape.elements() <= kMostElements ? nullptr : refuse(node, "an input has too many elements");
}

bool fits(const Node& node, int64_t head_size) { return head_size <= kMostHeadSize && node.heads <= kMostHeads; }
constexpr char kTooLarge[] = "a head may have at most 256 elements on a GPU, and there may be 65535 of them";

Heads heads_of(const Node& node, int64_t width) {
  return {static_cast<int>(node.heads), static_cast<int>(width / node.heads), node.scale};
}

template <class T>
T* as(const Tensor& tensor) {
  return static_cast<T*>(tensor.data);
}

// What binding in place saves: where the caches are not the same memory, all of it is copied.
template <class T>
OrtStatus* copy_cache(const Node& node, const Tensor& past, void* present, cudaStream_t stream) {
  const int64_t elements = past.shape.elements();
  if (past.data == present || elements == 0) return nullptr;
  const size_t bytes = static_cast<size_t>(elements) * sizeof(T);
  return check(node, cudaMemcpyAsync(present, past.data, bytes, cudaMemcpyDeviceToDevice, stream));
}

}  // namespace

OrtStatus* refuse(const Node& node, const char* reason) {
  char text[512];
  snprintf(text, sizeof text, "the node %s: %s", node.name, reason);
  return node.api.error(text);
}

OrtStatus* check(const Node& node, cudaError_t error) {
  return error == cudaSuccess ? nullptr : refuse(node, cudaGetErrorString(error));
}

OrtStatus* take(const Node& node, const OrtKernelContext* context, size_t index, Tensor* into) {
  const OrtValue* value = nullptr;
  TRY(node.api.input(context, index, &value));
  if (value == nullptr) return refuse(node, "an input is missing");
  OrtTensorTypeAndShapeInfo* info = nullptr;
  TRY(node.api.shape(value, &info));
  OrtStatus* const status = describe(node, info, into);
  node.api.release(info);
  return status != nullptr ? status : node.api.data(value, &into->data);
}

OrtStatus* make(const Node& node, OrtKernelContext* context, size_t index, const Shape& shape, void** data) {
  if (shape.elements() > kMostElements) return refuse(node, "there is not enough memory");
  OrtValue* value = nullptr;
  TRY(node.api.output(context, index, shape.of, shape.rank, &value));
  return value == nullptr ? refuse(node, "an output is missing; all of them must have names") : node.api.data(value, data);
}

OrtStatus* stream_of(const Node& node, const OrtKernelContext* context, cudaStream_t* stream) {
  void* found = nullptr;
  TRY(node.api.stream(context, &found));
  *stream = static_cast<cudaStream_t>(found);
  return nullptr;
}

template <class T>
OrtStatus* compute_self_attention(const Node& node, OrtKernelContext* context) {
  Cached in;
  const bool biased = node.op.input_count > 5;
  TRY(read_cached([&](size_t index, Tensor* into) { return take(node, context, index, into); }, biased, &in));
  if (const char* wrong = in.wrong(node.heads, biased)) return refuse(node, wrong);
  const int64_t n = in.queries(), width = in.width();
  if (!fits(node, width / node.heads)) return refuse(node, kTooLarge);
  if (n > kMostBlocks || in.tokens() > in.capacity()) return refuse(node, kBeyondCache);
  void *mixed = nullptr, *present_key = nullptr, *present_value = nullptr;
  TRY(make(node, context, 0, Shape{2, {n, width}}, &mixed));
  TRY(make(node, context, 1, in.key.shape, &present_key));
  TRY(make(node, context, 2, in.value.shape, &present_value));
  cudaStream_t stream = nullptr;
  TRY(stream_of(node, context, &stream));
  TRY(copy_cache<T>(node, in.key, present_key, stream));
  TRY(copy_cache<T>(node, in.value, present_value, stream));
  if (n == 0) return nullptr;
  SelfAttention<T> a{};
  static_cast<Heads&>(a) = heads_of(node, width);
  a.rows = in.rows();
  a.tokens = in.tokens();
  a.capacity = in.capacity();
  a.qkv = as<const T>(in.qkv);
  a.position = as<const int64_t>(in.position);
  a.beam_table = as<const int64_t>(in.table);
  a.distance_bias = as<const float>(in.bias);
  a.distances = in.distances();
  a.key = static_cast<T*>(present_key);
  a.value = static_cast<T*>(present_value);
  a.mixed = static_cast<T*>(mixed);
  return check(node, self_attention(a, stream));
}

template <class T, class Stored>
OrtStatus* compute_cross_attention(const Node& node, OrtKernelContext* context) {
  Tensor query, key, value, lengths;
  TRY(take(node, context, 0, &query));
  TRY(take(node, context, 1, &key));
  TRY(take(node, context, 2, &value));
  const bool padded = node.op.input_count > 3;
  if (padded) TRY(take(node, context, 3, &lengths));
  const bool apart = node.op.inputs[0].type != node.op.inputs[1].type;  // the positions of a head lie together
  if (!attend(node.heads, query.shape, key.shape, value.shape, apart)) return refuse(node, kQueriesAndKeys);
  const int64_t inputs = key.shape.of[0], positions = key.shape.of[apart ? 2 : 1], n = query.shape.of[0], width = query.shape.of[1];
  if (padded && !same(lengths.shape, {inputs, 1})) return refuse(node, kLengths);
  if (!fits(node, width / node.heads)) return refuse(node, kTooLarge);
  void* mixed = nullptr;
  TRY(make(node, context, 0, query.shape, &mixed));
  if (n == 0) return nullptr;
  if (inputs == 0 || n % inputs != 0 || (positions == 0 && !padded) || n > kMostBlocks)
    return refuse(node, kNoQueries);
  cudaStream_t stream = nullptr;
  TRY(stream_of(node, context, &stream));
  CrossAttention<T, Stored> a{};
  static_cast<Heads&>(a) = heads_of(node, width);
  a.inputs = inputs;
  a.queries = n / inputs;
  a.positions = positions;
  a.query = as<const T>(query);
  a.key = as<const Stored>(key);
  a.value = as<const Stored>(value);
  a.strides = {positions * width, apart ? a.head_size : width, apart ? positions * a.head_size : a.head_size};
  a.lengths = padded ? as<const int64_t>(lengths) : nullptr;
  a.mixed = static_cast<T*>(mixed);
  return check(node, cross_attention(a, stream));
}

template <class T>
OrtStatus* compute_norm(const Node& node, OrtKernelContext* context) {
  const bool adds = node.op.output_count > 1;
  Tensor x, residual, scale, bias;
  TRY(take(node, context, 0, &x));
  if (adds) TRY(take(node, context, 1, &residual));
  TRY(take(node, context, adds ? 2 : 1, &scale));
  if (adds) TRY(take(node, context, 3, &bias));
  if (x.shape.rank < 1 || x.shape.last() < 1 || !same(scale.shape, {x.shape.last()}) ||
      (adds && (!residual.shape.is(x.shape.rank, x.shape.of) || !same(bias.shape, {x.shape.last()}))))
    return refuse(node, "x, what is added to it and what scales it do not go together");
  void *y = nullptr, *sum = nullptr;
  TRY(make(node, context, 0, x.shape, &y));
  if (adds) TRY(make(node, context, 1, x.shape, &sum));
  Norm<T> n{};
  n.width = x.shape.last();
  n.rows = x.shape.elements() / n.width;
  if (n.rows == 0) return nullptr;
  if (n.rows > kMostBlocks) return refuse(node, "x has too many rows");
  n.epsilon = node.epsilon;
  n.x = as<const T>(x);
  n.residual = as<const T>(residual);
  n.scale = as<const T>(scale);
  n.bias = as<const T>(bias);
  n.y = static_cast<T*>(y);
  n.sum = static_cast<T*>(sum);
  cudaStream_t stream = nullptr;
  TRY(stream_of(node, context, &stream));
  return check(node, norm(n, stream));
}

template <class T>
OrtStatus* compute_top_candidates(const Node& node, OrtKernelContext* context) {
  Tensor logits;
  TRY(take(node, context, 0, &logits));
  if (logits.shape.rank != 2 || logits.shape.of[0] > kMostBlocks || logits.shape.of[1] > INT32_MAX)
    return refuse(node, "logits must have a row for each hypothesis, with a number for each token");
  const int64_t rows = logits.shape.of[0], vocabulary = logits.shape.of[1];
  if (node.k > vocabulary) return refuse(node, "k must not be more than there are logits in a row");
  void *values = nullptr, *indices = nullptr, *logsumexp = nullptr;
  TRY(make(node, context, 0, Shape{2, {rows, node.k}}, &values));
  TRY(make(node, context, 1, Shape{2, {rows, node.k}}, &indices));
  TRY(make(node, context, 2, Shape{1, {rows}}, &logsumexp));
  if (rows == 0) return nullptr;
  TopCandidates<T> t{rows, vocabulary, node.k, as<const T>(logits), static_cast<float*>(values), static_cast<int64_t*>(indices),
                     static_cast<float*>(logsumexp)};
  cudaStream_t stream = nullptr;
  TRY(stream_of(node, context, &stream));
  return check(node, top_candidates(t, stream));
}

template OrtStatus* compute_self_attention<float>(const Node&, OrtKernelContext*);
template OrtStatus* compute_self_attention<__half>(const Node&, OrtKernelContext*);
template OrtStatus* compute_cross_attention<float, float>(const Node&, OrtKernelContext*);
template OrtStatus* compute_cross_attention<float, __half>(const Node&, OrtKernelContext*);
template OrtStatus* compute_cross_attention<__half, __half>(const Node&, OrtKernelContext*);
template OrtStatus* compute_norm<float>(const Node&, OrtKernelContext*);
template OrtStatus* compute_norm<__half>(const Node&, OrtKernelContext*);
template OrtStatus* compute_top_candidates<float>(const Node&, OrtKernelContext*);
template OrtStatus* compute_top_candidates<__half>(const Node&, OrtKernelContext*);

}  // namespace fuseline::cuda
