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
  uint8_t by_rows[kMostSteps] = {};  // how many steps from this one on go row by row
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

// Where the bias of a linear layer is among its inputs; a second value comes after it.
size_t bias_of(const Operator& op) { return op.quantized() ? 3 : 2; }

bool has_second(const Step& step) {
  const Operator& op = step.node.op;
  return op.of.compute == compute_linear && op.of.second != Second::kNone;
}

// Whether each row of what a step makes is made of that row alone, of what it reads, and of constants.
bool goes_by_rows(const Step& step) {
  const Operator& op = step.node.op;
  if (op.of.compute != compute_linear && op.of.compute != compute_layer_norm && op.of.compute != compute_rms_norm) return false;
  for (size_t i = 0; i < op.inputs; ++i)
    if ((step.node.constants[i].data == nullptr) != (i == 0 || (has_second(step) && i + 1 == op.inputs))) return false;
  return true;
}

void find_rows(Layer* layer) {
  for (size_t s = layer->steps.size(); s-- > 0;) {
    const bool more = s + 1 < layer->steps.size();
    if (goes_by_rows(layer->steps[s])) layer->by_rows[s] = static_cast<uint8_t>(1 + (more ? layer->by_rows[s + 1] : 0));
  }
}

// What steps do for the next ones, where both go through the same rows at a time. A norm's rows stay until the layer behind has normed
// them. Rows of floats are not kept: they take as much memory again as what they are made of, and little time.
void hand_on(Layer* layer) {
  for (size_t s = 0; s + 1 < layer->steps.size(); ++s) {
    Step &step = layer->steps[s], &next = layer->steps[s + 1];
    const Definition &of = step.node.op.of, &then = next.node.op.of;
    if (layer->by_rows[s] < 2 || then.compute != compute_linear) continue;
    step.leaves = of.compute != compute_linear && next.inputs[0] == step.outputs[0];
    uint8_t& until = layer->last[step.inputs[0]];
    if (step.leaves && until == s) until = static_cast<uint8_t>(s + 1);
    const bool alike = of.compute == compute_linear && of.format == then.format && next.inputs[0] == step.inputs[0];
    step.keeps = next.kept = alike && then.format != FUSELINE_FLOAT && then.format != FUSELINE_HALF;
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
  find_rows(layer);
  hand_on(layer);
  return nullptr;
}

// What is not read after a step is for the next ones.
void drop(const Layer& layer, size_t step, Frame* frame) {
  for (size_t v = frame->between; v < layer.values; ++v)
    if (layer.last[v] == step) frame->spare->give(std::move(frame->owned[v]));
}

// One run of a layer, on a team or alone.
struct Run {
  const Layer& layer;
  OrtKernelContext* context;
  Team* team;
  Frame frame;

  Call call(size_t s) { return Call{context, &layer.steps[s], &frame, team}; }

  OrtStatus* step(size_t s) {
    const Step& one = layer.steps[s];
    if (team != nullptr) team->ahead(&one.ahead);
    return one.node.op.of.compute(one.node, call(s));
  }
};

// As many rows as the steps [first, end) go through at a time: what they hand on should stay in a near cache, which also saves the
// memory for the rest of it, and weights are to be worth reading again. As many each time.
int64_t rows_together(const Layer& layer, size_t first, size_t end, int64_t all) {
  constexpr int64_t kFloats = 1 << 20, kLeast = 12 * FUSELINE_LINEAR_ROWS;
  int64_t widest = 1;
  for (size_t s = first; s < end; ++s) {
    const Node& node = layer.steps[s].node;
    if (node.op.of.compute != compute_linear) continue;
    const int64_t outputs = node.constants[bias_of(node.op)].shape.elements();
    if (outputs > widest) widest = outputs;
  }
  const int64_t most = kFloats / widest < kLeast ? kLeast : kFloats / widest, turns = (all - 1) / most + 1;
  return ((all - 1) / turns / FUSELINE_LINEAR_ROWS + 1) * FUSELINE_LINEAR_ROWS;
}

// The sizes, but for the last one, of what the steps [first, end) read of others. rank is 0 where they are not the same, or nothing is
// there.
OrtStatus* common_rows(Run* run, size_t first, size_t end, Shape* all) {
  bool made[kMostValues] = {};
  *all = Shape{};
  for (size_t s = first; s < end; ++s) {
    const Step& step = run->layer.steps[s];
    for (const size_t index : {size_t{0}, step.node.op.inputs - 1}) {
      if (made[step.inputs[index]] || (index > 0 && !has_second(step))) continue;
      Tensor value;
      TRY(take(step.node, run->call(s), index, &value));
      Shape rows = value.shape;
      const bool usable = rows.rank >= 2 && rows.elements() > 0;
      if (usable) --rows.rank;
      if (!usable || (all->rank != 0 && !rows.is(all->rank, all->of))) {
        all->rank = 0;
        return nullptr;
      }
      *all = rows;
    }
    made[step.outputs[0]] = true;
  }
  return nullptr;
}

// The steps [first, end), each for some rows, then for the next ones.
OrtStatus* run_rows(Run* run, size_t first, size_t end, const Shape& all, int64_t together) {
  Frame& frame = run->frame;
  for (size_t s = first; s < end; ++s) {
    const size_t v = run->layer.steps[s].outputs[0];
    frame.part[v] = v >= frame.between && run->layer.last[v] < end;
  }
  const int64_t rows = all.elements();
  frame.some.all = all;
  for (int64_t row = 0; row < rows; row += together) {
    frame.some.first = row;
    frame.some.count = rows - row < together ? rows - row : together;
    for (size_t s = first; s < end; ++s) TRY(run->step(s));
  }
  frame.some.count = 0;
  return nullptr;
}

// All steps, one after the other; those that go row by row together, all of them for some rows or each for all.
OrtStatus* run_steps(Run* run) {
  const Layer& layer = run->layer;
  for (size_t s = 0, end; s < layer.steps.size(); s = end) {
    end = s + (layer.by_rows[s] > 1 ? layer.by_rows[s] : 1);
    Shape all;
    if (end > s + 1) TRY(common_rows(run, s, end, &all));
    const int64_t rows = all.rank == 0 ? 0 : all.elements(), together = rows == 0 ? 0 : rows_together(layer, s, end, rows);
    const bool in_parts = together < rows;
    if (in_parts) TRY(run_rows(run, s, end, all, together));
    for (size_t each = s; each < end; ++each) {
      if (!in_parts) TRY(run->step(each));
      drop(layer, each, &run->frame);
    }
  }
  return nullptr;
}

OrtStatus* lead(const Layer& layer, OrtKernelContext* context, Team* team) {
  Owned<SpareBlocks> spare = Spares::take();
  if (spare == nullptr) return no_memory(layer.node);
  OrtStatus* status;
  {
    Run run{layer, context, team, Frame(layer.inputs, layer.inputs + layer.outputs, spare.get())};
    status = run_steps(&run);
  }
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
