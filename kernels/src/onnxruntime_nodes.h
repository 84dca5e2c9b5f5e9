// What the operators share as onnxruntime sees them: nodes of a graph, steps of a layer, and where their tensors come from.
#pragma once

#include <stdint.h>
#include <stdlib.h>

#include <atomic>

#include "fuseline_kernels.h"
#include "memory.h"
#include "onnxruntime_tensors.h"
#include "spare_blocks.h"
#include "team.h"

namespace fuseline {

constexpr size_t kMostInputs = 9, kMostOutputs = 3, kMostAttributes = 3;  // of an operator but a layer

struct Operator;  // onnxruntime_operators.h

// A node of a graph, or a step of a layer, between two runs.
struct Node {
  Node(const Api& api_, const Operator& op_) : api(api_), op(op_) {}
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const Api api;
  const Operator& op;
  int64_t heads = 0;
  float scale = 0;
  int64_t vocabulary = 0, width = 0;
  int64_t channels = 0, group = 0, strides = 0;
  float epsilon = 0;
  char name[128] = "";
  Tensor constants[kMostInputs] = {};  // inputs that never change, as weights: asking for them costs a step a hundredth
  mutable std::atomic<bool> checked{false};  // whether its scales were seen to be good and are constants
};

// A node of a layer. inputs, outputs: the numbers of its values; ahead: the weights that it, or else the next that has some,
// reads; after: those that are read once it is done; leaves: of a norm, whether the next step is a linear layer that norms rows itself
// before it reads them; keeps, kept: of a linear layer, whether the next one, or the one before, multiplies the same rows.
struct Step {
  Step(const Api& api, const Operator& op) : node(api, op) {}

  Node node;
  uint8_t inputs[kMostInputs] = {}, outputs[kMostOutputs] = {};
  Ahead ahead, after;
  bool leaves = false, keeps = false, kept = false;
};

// A norm that is left to the linear layer behind it.
struct NormLeft {
  enum { kNone, kLayerNorm, kRmsNorm } kind = kNone;
  fuseline_layer_norm layer_norm{};
  fuseline_rms_norm rms_norm{};
};

// Rows as linear layers multiply them, for all that read the same ones.
struct KeptRows {
  Memory memory;
  int64_t padded = 0, groups = 0;
};

// The values of one run of a layer, by number: inputs of the layer, its outputs, then what lies between, which is ours.
constexpr size_t kMostValues = 128;
static_assert(kMostValues <= UINT8_MAX + 1, "a step has the numbers of its values in bytes");

// The rows that steps go through at a time (onnxruntime_layers.cpp). count: 0 where they go through all of them; all: the sizes of
// the values but for the last one.
struct SomeRows {
  int64_t first = 0, count = 0;
  Shape all;
};

struct Frame {
  Frame(size_t inputs_, size_t between_, SpareBlocks* spare_) : inputs(inputs_), between(between_), spare(spare_) {}
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

  const size_t inputs, between;
  SpareBlocks* const spare;
  Tensor values[kMostValues];
  bool known[kMostValues] = {};
  SomeRows some;
  bool part[kMostValues] = {};  // whether of a value no more than these rows are kept
  Block owned[kMostValues];  // what lies between, until it has been read
  NormLeft left;
  KeptRows kept;
};

// One run of a node, whose tensors onnxruntime has, or of a step, whose tensors are the layer's or in its frame.
struct Call {
  OrtKernelContext* context;
  const Step* step = nullptr;
  Frame* frame = nullptr;
  Team* team = nullptr;  // null where loops are for onnxruntime's pool
};

OrtStatus* refuse(const Node& node, const char* reason);
OrtStatus* no_memory(const Node& node);

// job(of, index) for each index below `jobs`, on onnxruntime's threads.
OrtStatus* on_all_threads(const Node& node, const OrtKernelContext* context, void (*job)(void*, size_t), size_t jobs, void* of);

// An input, and memory for an output of float32.
OrtStatus* take(const Node& node, const Call& call, size_t index, Tensor* into);
OrtStatus* make(const Node& node, const Call& call, size_t index, const Shape& shape, void** data);

// What a node or a step has from the model: its name, and inputs that never change.
void read_name(const OrtKernelInfo* info, Node* node);
OrtStatus* read_constant(const OrtKernelInfo* info, size_t input, Node* node, size_t index);

// Layers (onnxruntime_layers.cpp): as onnxruntime makes, runs and destroys their kernels.
OrtStatus* create_layer(const Api& api, const Operator& op, const OrtKernelInfo* info, void** kernel);
OrtStatus* compute_layer(void* kernel, OrtKernelContext* context);
void destroy_layer(void* kernel);

}  // namespace fuseline
