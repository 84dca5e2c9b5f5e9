// What the operators share as onnxruntime sees them: nodes of a graph, steps of a layer, and where their tensors come from.
#pragma once

#include <stdint.h>
#include <stdlib.h>

#include <atomic>

#include "onnxruntime_api.h"
#include "team.h"

namespace fuseline {

constexpr size_t kMostDimensions = 8;

struct Shape {
  size_t rank = 0;
  int64_t of[kMostDimensions] = {};

  int64_t last() const { return of[rank - 1]; }
  int64_t elements() const {
    int64_t n = 1;
    for (size_t i = 0; i < rank; ++i) n *= of[i];
    return n;
  }
  bool is(size_t n, const int64_t* sizes) const {
    for (size_t i = 0; i < n; ++i)
      if (of[i] != sizes[i]) return false;
    return rank == n;
  }
};

template <size_t N>
bool same(const Shape& shape, const int64_t (&sizes)[N]) {
  return shape.is(N, sizes);
}

struct Tensor {
  Shape shape;
  int type = 0;
  void* data = nullptr;
};

constexpr size_t kMostInputs = 5, kMostOutputs = 3;  // of an operator but a layer

// A node of a graph, or a step of a layer, between two runs.
struct Node {
  Api api;
  int kind;  // see Operator
  int64_t heads = 0;
  float scale = 0;
  int64_t vocabulary = 0, width = 0;
  float epsilon = 0;
  char name[128] = "";
  Tensor constants[kMostInputs] = {};  // inputs that never change, as weights: asking for them costs a step a hundredth
  mutable std::atomic<const void*> checked{nullptr};  // the scales that were seen to be good; weights do not change
};

// A node of a layer. inputs, outputs: the numbers of its values; ahead: the weights that it, or else the next that has some, reads.
struct Step {
  Node node;
  uint8_t inputs[kMostInputs] = {}, outputs[kMostOutputs] = {};
  Ahead ahead;
};

// The values of one run of a layer, by number: inputs of the layer, its outputs, then what lies between, which is ours.
constexpr size_t kMostValues = 128;

struct Frame {
  Frame(size_t inputs_, size_t between_, size_t end_) : inputs(inputs_), between(between_), end(end_) {}
  ~Frame() {
    for (size_t v = between; v < end; ++v) drop(v);
  }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
  void drop(size_t v) {
    free(values[v].data);
    values[v].data = nullptr;
  }

  const size_t inputs, between, end;
  Tensor values[kMostValues];
  bool known[kMostValues] = {};
};

// One run of a node, whose tensors onnxruntime has, or of a step, whose tensors are the layer's or in its frame.
struct Call {
  OrtKernelContext* context;
  const Step* step = nullptr;
  Frame* frame = nullptr;
  Team* team = nullptr;  // null where loops are for onnxruntime's pool
};

#define TRY(call)                                   \
  do {                                              \
    if (OrtStatus* status_ = (call)) return status_; \
  } while (false)

OrtStatus* refuse(const Node& node, const char* reason);

// An input, and memory for an output of float32.
OrtStatus* take(const Node& node, const Call& call, size_t index, Tensor* into);
OrtStatus* make(const Node& node, const Call& call, size_t index, const Shape& shape, void** data);

// The operators (onnxruntime_operators.cpp): their number, counts of inputs and outputs, attributes, and a run.
extern const int kSteps;  // those that a layer can be made of are before it
const char* name_of(int kind);
size_t inputs_of(int kind);
size_t outputs_of(int kind);
int type_of_input(int kind, size_t index);
OrtStatus* read_attributes(const OrtKernelInfo* info, Node* node);
OrtStatus* read_constant(const OrtKernelInfo* info, size_t input, Node* node, size_t index);
OrtStatus* compute_node(const Node& node, const Call& call);
Ahead weights_of(const Node& node);           // nothing where they are no constant
constexpr int64_t kWorthSharing = 64 << 10;  // bytes to read that are worth a second thread

// Layers (onnxruntime_layers.cpp). What create_layer gives begins with a Node, and free releases it.
OrtStatus* create_layer(const Node& node, const OrtKernelInfo* info, void** kernel);
OrtStatus* compute_layer(const Node& node, OrtKernelContext* context);

}  // namespace fuseline
