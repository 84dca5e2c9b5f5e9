// A layer of a decoder as one node: its operators one after the other, as the attribute `steps` says (kernels/layers.py), on
// a team of threads.
#include <stdio.h>
#include <string.h>

#include <new>

#include "onnxruntime_nodes.h"

namespace fuseline {

constexpr size_t kMostSteps = 64, kLongest = 4096;

struct Layer {
  Node node;
  size_t inputs, outputs, values, count;
  bool shared;                // whether its weights are worth a team
  uint8_t last[kMostValues];  // the step that reads a value last
  Step steps[1];              // `count` of them, and one that only has nothing ahead
};

namespace {

// The next word, as the number of a value; false where it is none.
bool next_value(char** rest, uint8_t* value) {
  const char* word = strtok_r(nullptr, " ", rest);
  if (word == nullptr || strspn(word, "0123456789") != strlen(word) || strlen(word) > 3) return false;
  const int number = atoi(word);
  *value = static_cast<uint8_t>(number);
  return static_cast<size_t>(number) < kMostValues;
}

// "Int8Linear 31 3 4 5 > 35": an operator, what it reads, what it makes.
bool parse(char* text, const Api& api, Step* step) {
  char* rest = nullptr;
  const char* word = strtok_r(text, " ", &rest);
  int kind = 0;
  while (word != nullptr && kind < kSteps && strcmp(word, name_of(kind)) != 0) ++kind;
  if (word == nullptr || kind == kSteps) return false;
  new (step) Step{Node{api, kind}, {}, {}, {}};
  for (size_t i = 0; i < inputs_of(kind); ++i)
    if (!next_value(&rest, &step->inputs[i])) return false;
  word = strtok_r(nullptr, " ", &rest);
  if (word == nullptr || strcmp(word, ">") != 0) return false;
  for (size_t i = 0; i < outputs_of(kind); ++i)
    if (!next_value(&rest, &step->outputs[i])) return false;
  return strtok_r(nullptr, " ", &rest) == nullptr;
}

// Whether every value is there before it is read, and made once, the outputs too.
bool in_order(Layer* layer) {
  bool known[kMostValues] = {};
  const size_t ends = layer->inputs + layer->outputs;
  if (ends > kMostValues) return false;
  for (size_t v = 0; v < layer->inputs; ++v) known[v] = true;
  layer->values = ends;
  for (size_t s = 0; s < layer->count; ++s) {
    const Step& step = layer->steps[s];
    for (size_t i = 0; i < inputs_of(step.node.kind); ++i) {
      if (!known[step.inputs[i]]) return false;
      layer->last[step.inputs[i]] = static_cast<uint8_t>(s);
    }
    for (size_t i = 0; i < outputs_of(step.node.kind); ++i) {
      const size_t v = step.outputs[i];
      if (known[v]) return false;
      known[v] = true;
      layer->last[v] = static_cast<uint8_t>(s);
      if (v >= layer->values) layer->values = v + 1;
    }
  }
  for (size_t v = layer->inputs; v < ends; ++v)
    if (!known[v]) return false;
  return true;
}

OrtStatus* fill(const Node& node, const OrtKernelInfo* info, char* text, Layer* layer) {
  char* rest = nullptr;
  for (char* one = strtok_r(text, ";", &rest); one != nullptr; one = strtok_r(nullptr, ";", &rest)) {
    Step* step = &layer->steps[layer->count];
    if (!parse(one, node.api, step)) return refuse(node, "steps must name operators with the values they read and make");
    ++layer->count;
    snprintf(step->node.name, sizeof step->node.name, "%.80s, step %d, %s", node.name, static_cast<int>(layer->count),
             name_of(step->node.kind));
    TRY(read_attributes(info, &step->node));
  }
  TRY(node.api.inputs(info, &layer->inputs));
  TRY(node.api.outputs(info, &layer->outputs));
  if (!in_order(layer)) return refuse(node, "steps must make each value once, outputs too, and before it is read");
  for (size_t s = 0; s < layer->count; ++s) {
    Step* step = &layer->steps[s];
    for (size_t i = 0; i < inputs_of(step->node.kind); ++i)
      if (step->inputs[i] < layer->inputs) TRY(read_constant(info, step->inputs[i], &step->node, i));
  }
  for (size_t s = layer->count; s-- > 0;) {
    const Ahead own = weights_of(layer->steps[s].node);
    layer->steps[s].ahead = own.bytes > 0 ? own : layer->steps[s + 1].ahead;
    layer->shared = layer->shared || own.bytes >= kWorthSharing;
  }
  return nullptr;
}

// What is not read after a step goes at once: of a long prompt it is large.
void drop(const Layer& layer, size_t step, Frame* frame) {
  for (size_t v = frame->between; v < frame->end; ++v)
    if (layer.last[v] == step) frame->drop(v);
}

// All steps, one after the other, on a team or alone.
OrtStatus* lead(const Layer& layer, OrtKernelContext* context, Team* team) {
  Frame frame(layer.inputs, layer.inputs + layer.outputs, layer.values);
  for (size_t s = 0; s < layer.count; ++s) {
    const Step& step = layer.steps[s];
    if (team != nullptr) team->ahead(&step.ahead);
    TRY(compute_node(step.node, Call{context, &step, &frame, team}));
    drop(layer, s, &frame);
  }
  return nullptr;
}

}  // namespace

OrtStatus* create_layer(const Node& node, const OrtKernelInfo* info, void** kernel) {
  char text[kLongest];
  size_t size = sizeof text, steps = 1;
  if (OrtStatus* status = node.api.attribute(info, "steps", text, &size)) {
    node.api.release(status);
    return refuse(node, "steps must be a text of at most 4095 characters");
  }
  text[sizeof text - 1] = 0;
  for (const char* at = text; (at = strchr(at, ';')) != nullptr; ++at) ++steps;
  if (steps > kMostSteps) return refuse(node, "steps must be at most 64");
  Layer* layer = static_cast<Layer*>(calloc(1, sizeof(Layer) + steps * sizeof(Step)));
  if (layer == nullptr) return refuse(node, "there is not enough memory");
  new (&layer->node) Node{node.api, node.kind};
  memcpy(layer->node.name, node.name, sizeof node.name);
  OrtStatus* status = fill(node, info, text, layer);
  if (status != nullptr) free(layer);
  *kernel = status == nullptr ? layer : nullptr;
  return status;
}

OrtStatus* compute_layer(const Node& node, OrtKernelContext* context) {
  const Layer& layer = reinterpret_cast<const Layer&>(node);
  if (!layer.shared) return lead(layer, context, nullptr);
  struct Run {
    const Layer& layer;
    OrtKernelContext* context;
    Team team{};
    std::atomic<bool> led{false};
    OrtStatus* status = nullptr;
  } run{layer, context};
  // Whoever comes first leads. A pool need not have so many threads; who comes after the end goes at once.
  const auto join = [](void* of, size_t) {
    Run& r = *static_cast<Run*>(of);
    if (r.led.exchange(true)) return r.team.help();
    r.status = lead(r.layer, r.context, &r.team);
    r.team.end();
  };
  TRY(node.api.parallel_for(context, join, Team::kMostThreads, &run));
  return run.status;
}

}  // namespace fuseline
