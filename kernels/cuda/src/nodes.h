// What the CUDA operators share as onnxruntime sees them: nodes, their tensors, and what is said where something is wrong.
#pragma once

#include <cuda_runtime_api.h>

#include "onnxruntime_tensors.h"

namespace fuseline::cuda {

constexpr size_t kMostInputs = 6, kMostOutputs = 3;

struct Node;

// An input or an output by name. type: ONNXTensorElementDataType.
struct Slot {
  const char* name;
  int type;
};

// Which attributes an operator has.
enum class Attributes { kEpsilon, kHeads, kK };

struct Operator : OrtCustomOp {
  const char* name;
  Slot inputs[kMostInputs], outputs[kMostOutputs];
  size_t input_count, output_count;
  Attributes attributes;
  OrtStatus* (*compute)(const Node& node, OrtKernelContext* context);
};

struct Node {
  Node(const Api& api_, const Operator& op_) : api(api_), op(op_) {}
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const Api api;
  const Operator& op;
  int64_t heads = 0, k = 0;
  float scale = 0, epsilon = 0;
  char name[128] = "";
};

OrtStatus* refuse(const Node& node, const char* reason);
// What CUDA says of a kernel or a copy that was to be put into the stream.
OrtStatus* check(const Node& node, cudaError_t error);

OrtStatus* take(const Node& node, const OrtKernelContext* context, size_t index, Tensor* into);
OrtStatus* make(const Node& node, OrtKernelContext* context, size_t index, const Shape& shape, void** data);
// What onnxruntime puts the work of this run into.
OrtStatus* stream_of(const Node& node, const OrtKernelContext* context, cudaStream_t* stream);

// What computes them (operators.cpp has their table): T and Stored are float or __half, of queries, and of keys and values.
template <class T>
OrtStatus* compute_self_attention(const Node& node, OrtKernelContext* context);
template <class T, class Stored>
OrtStatus* compute_cross_attention(const Node& node, OrtKernelContext* context);
template <class T>
OrtStatus* compute_norm(const Node& node, OrtKernelContext* context);
template <class T>
OrtStatus* compute_top_candidates(const Node& node, OrtKernelContext* context);

}  // namespace fuseline::cuda
