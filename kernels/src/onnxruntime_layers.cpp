// A layer of a decoder or an encoder as one node: its operators one after the other, as the attribute `steps` says
// (kernels/layers.py), on a team of threads.
#include <stdio.h>
#include <string.h>

#include "onnxruntime_loops.h"
#include "onnxruntime_operators.h"

namespace fuseline {

constexpr size_t kMostSteps = 64, kLongest = 4096;
static_assert(kMostSteps <= UINT8_MAX + 1, "a layer has the numbers of its steps in bytes");

struct Layer {
  Layer(const Api& api, const Operator& op) : node(api, op) {}

  Node node;
  size_t inputs = 0, outputs = 0, values = 0;
  bool shared = false;             // whether its weights are worth a team
  uint8_t last[kMostValues] = {};  // the step that reads a value last
  Array<Step> steps;
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

// "Int8Linear 31 3 4 5 > 35": an operator, what it reads, what it makes. Null where it is none.
Step* parse(char* text, Layer* layer) {
  char* rest = nullptr;
  const char* word = strtok_r(text, " ", &rest);
  const Operator* const op = word == nullptr ? nullptr : find_step(word);
  Step* const step = op == nullptr ? nullptr : layer->steps.add(layer->node.api, *op);
  if (step == nullptr) return nullptr;
  for (size_t i = 0; i < op->inputs; ++i)
    if (!next_value(&rest, &step->inputs[i])) return nullptr;
  word = strtok_r(nullptr, " ", &rest);
  if (word == nullptr || strcmp(word, ">") != 0) return nullptr;
  for (size_t i = 0; i < op->outputs; ++i)
    if (!next_value(&rest, &step->outputs[i])) return nullptr;
  return strtok_r(nullptr, " ", &rest) == nullptr ? step : nullptr;
}

// Whether every value is there before it is read, and made once, the outputs too.
bool in_order(Layer* layer) {
  bool known[kMostValues] = {};
  if (layer->inputs > kMostValues || layer->outputs > kMostValues - layer->inputs) return false;
  const size_t ends = layer->inputs + layer->outputs;
  for (size_t v = 0; v < layer->inputs; ++v) known[v] = true;
  layer->values = ends;
  for (size_t s = 0; s < layer->steps.size(); ++s) {
    const Step& step = layer->steps[s];
    for (size_t i = 0; i < step.node.op.inputs; ++i) {
      if (!known[step.inputs[i]]) return false;
      layer->last[step.inputs[i]] = static_cast<uint8_t>(s);
    }
    for (size_t i = 0; i < step.node.op.outputs; ++i) {
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

// What each step, and each loop of one, fetches ahead.
void look_ahead(Layer* layer) {
  Ahead next;
  for (size_t s = layer->steps.size(); s-- > 0;) {
    Step& step = layer->steps[s];
    const Ahead own = weights_of(step.node);
    step.after = next;
    if (own.bytes > 0) next = own;
    step.ahead = next;
    layer->shared = layer->shared || own.bytes >= kWorthSharing;
  }
}

OrtStatus* fill(const OrtKernelInfo* info, char* text, Layer* layer) {
  const Node& node = layer->node;
  char* rest = nullptr;
  for (char* one = strtok_r(text, ";", &rest); one != nullptr; one = strtok_r(nullptr, ";", &rest)) {
    Step* const step = parse(one, layer);
    if (step == nullptr) return refuse(node, "steps must name operators with the values they read and make");
    snprintf(step->node.name, sizeof step->node.name, "%.80s, step %d, %s", node.name, static_cast<int>(layer->steps.size()),
             step->node.op.name);
    TRY(read_attributes(info, &step->node));
  }
  TRY(node.api.inputs(info, &layer->inputs));
  TRY(node.api.outputs(info, &layer->outputs));
  if (!in_order(layer)) return refuse(node, "steps must make each value once, outputs too, and before it is read");
  for (size_t s = 0; s < layer->steps.size(); ++s) {
    Step& step = layer->steps[s];
    for (size_t i = 0; i < step.node.op.inputs; ++i)
      if (step.inputs[i] < layer->inputs) TRY(read_constant(info, step.inputs[i], &step.node, i));
  }
  look_ahead(layer);
  return nullptr;
}

// What is not read after a step is for the next ones.
void drop(const Layer& layer, size_t step, Frame* frame) {
  for (size_t v = frame->between; v < layer.values; ++v)
    if (layer.last[v] == step) frame->spare->give(std::move(frame->owned[v]));
}

// All steps, one after the other, on a team or alone.
OrtStatus* run_steps(const Layer& layer, OrtKernelContext* context, Team* team, SpareBlocks* spare) {
  Frame frame(layer.inputs, layer.inputs + layer.outputs, spare);
  for (size_t s = 0; s < layer.steps.size(); ++s) {
    const Step& step = layer.steps[s];
    if (team != nullptr) team->ahead(&step.ahead);
    TRY(step.node.op.of.compute(step.node, Call{context, &step, &frame, team}));
    drop(layer, s, &frame);
  }
  return nullptr;
}

OrtStatus* lead(const Layer& layer, OrtKernelContext* context, Team* team) {
  Owned<SpareBlocks> spare = Spares::take();
  if (spare == nullptr) return no_memory(layer.node);
  OrtStatus* const status = run_steps(layer, context, team, spare.get());
  Spares::give(std::move(spare));
  return status;
}

}  // namespace

OrtStatus* create_layer(const Api& api, const Operator& op, const OrtKernelInfo* info, void** kernel) {
  Owned<Layer> layer = own<Layer>(api, op);
  if (layer == nullptr) return api.error("there is not enough memory");
  const Node& node = layer->node;
  read_name(info, &layer->node);
  char text[kLongest];
  size_t size = sizeof text, steps = 1;
  if (OrtStatus* status = api.attribute(info, "steps", text, &size)) {
    api.release(status);
    return refuse(node, "steps must be a text of at most 4095 characters");
  }
  if (size < 1 || size > sizeof text || strnlen(text, size) != size - 1)  // what comes after a zero would be left out
    return refuse(node, "steps must be a text without zeros in it");
  for (const char* at = text; (at = strchr(at, ';')) != nullptr; ++at) ++steps;
  if (steps > kMostSteps) return refuse(node, "steps must be at most 64");
  if (!layer->steps.reserve(steps)) return no_memory(node);
  TRY(fill(info, text, layer.get()));
  *kernel = layer.release();
  return nullptr;
}

void destroy_layer(void* kernel) {
  Destroy()(static_cast<Layer*>(kernel));
  Spares::drop();
}

OrtStatus* compute_layer(void* kernel, OrtKernelContext* context) {
  const Layer& layer = *static_cast<const Layer*>(kernel);
  if (!layer.shared) return lead(layer, context, nullptr);
  return with_team(layer.node, context, [&](Team* team) { return lead(layer, context, team); });
}

}  // namespace fuseline
