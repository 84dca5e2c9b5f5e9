// The operators as one table: what onnxruntime and layers are told of each, and what computes it.
#pragma once

#include "fuseline_kernels.h"
#include "onnxruntime_nodes.h"

namespace fuseline {

// An input or an attribute by name. type: ONNXTensorElementDataType.
struct Slot {
  const char* name;
  int type;
};
struct Attribute {
  const char* name;
  int64_t Node::*whole;  // where it is read to: this, or else
  float Node::*number;   // this, or else
  int64_t Node::*both;   // this, of two numbers that must be the same
};
struct Attributes {
  Attribute all[kMostAttributes];
  const char* (*wrong)(const Node& node);  // a sentence about what cannot be, null where all is well
};

// What the other value of a linear layer is for.
enum class Second { kNone, kResidual, kFactor };

// A row of the table. Outputs are float32. Of linear layers and embeddings rows are made, a format and an ending each.
struct Definition {
  const char* name;
  Slot inputs[kMostInputs];
  const char* outputs[kMostOutputs];
  const Attributes* attributes;  // null where there are none
  OrtStatus* (*compute)(const Node& node, const Call& call);  // null for a layer, which takes any number of inputs of any type
  int32_t format;      // fuseline_format of weights, or of keys and values
  int32_t activation;  // and so on, of linear layers
  Second second;
  size_t weights;      // the input whose bytes are worth fetching ahead; 0 where there is none
};

struct Operator : OrtCustomOp {
  Definition of;
  char name[32];
  size_t inputs, outputs;

  bool is_layer() const { return of.compute == nullptr; }
  bool quantized() const { return of.format == FUSELINE_INT8 || of.format == FUSELINE_INT4; }
  int type_of_input(size_t index) const { return is_layer() ? kAnyType : of.inputs[index].type; }
};

// Those that a layer may be made of, by name; null for others.
const Operator* find_step(const char* name);
OrtStatus* read_attributes(const OrtKernelInfo* info, Node* node);
Ahead weights_of(const Node& node);  // nothing where they are no constant

// What computes them: onnxruntime_linear.cpp, onnxruntime_norms.cpp, onnxruntime_attention.cpp and onnxruntime_convolutions.cpp.
OrtStatus* compute_linear(const Node& node, const Call& call);
OrtStatus* compute_embedding(const Node& node, const Call& call);
OrtStatus* compute_convolution(const Node& node, const Call& call);
OrtStatus* compute_bottleneck(const Node& node, const Call& call);
OrtStatus* compute_layer_norm(const Node& node, const Call& call);
OrtStatus* compute_rms_norm(const Node& node, const Call& call);
OrtStatus* compute_rotary(const Node& node, const Call& call);
OrtStatus* compute_cached_self_attention(const Node& node, const Call& call);
OrtStatus* compute_cross_attention(const Node& node, const Call& call);
OrtStatus* compute_flat_attention(const Node& node, const Call& call);
OrtStatus* compute_separate_attention(const Node& node, const Call& call);
OrtStatus* compute_encoder_attention(const Node& node, const Call& call);
OrtStatus* compute_window_attention(const Node& node, const Call& call);

}  // namespace fuseline
