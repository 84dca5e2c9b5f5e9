#include "generate.h"

#include <string.h>

#include <algorithm>
#include <iterator>

#include "failure.h"

void fuseline_cancel::stop() {
  const std::lock_guard<std::mutex> lock(mutex_);
  stopped_ = true;
  for (const auto& [runtime, options] : running_) runtime->call(embedded::entry::kSetTerminate, options);
}

bool fuseline_cancel::stopped() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return stopped_;
}

// The options of a call's runs, which a token stops while they are here.
class Running {
 public:
  Running(const embedded::Onnxruntime& runtime, fuseline_cancel* cancel) : cancel_(cancel) {
    OrtRunOptions* made = nullptr;
    runtime.call(embedded::entry::kCreateRunOptions, &made);
    options_ = runtime.owned(made, embedded::kReleaseRunOptions);
    if (cancel_ == nullptr) return;
    const std::lock_guard<std::mutex> lock(cancel_->mutex_);
    if (cancel_->stopped_) runtime.call(embedded::entry::kSetTerminate, made);
    cancel_->running_.emplace_back(&runtime, made);
  }
  ~Running() {
    if (cancel_ == nullptr) return;
    const std::lock_guard<std::mutex> lock(cancel_->mutex_);
    auto& all = cancel_->running_;
    all.erase(std::find_if(all.begin(), all.end(), [this](const auto& each) { return each.second == options_.get(); }));
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  const OrtRunOptions* options() const { return options_.get(); }
  bool stopped() const { return cancel_ != nullptr && cancel_->stopped(); }

 private:
  fuseline_cancel* cancel_;
  embedded::Onnxruntime::Owned<OrtRunOptions> options_;
};

namespace embedded {
namespace {

constexpr int kBool = 9;  // ONNXTensorElementDataType
constexpr int64_t kLongestEdge = 1 << 20;
constexpr float kReachable = -5e8f;  // what is out of reach has a score of about -1e9

using fuseline::kFloat;
using fuseline::kInt64;
using fuseline::kUint8;

// What start.onnx reads, of what the caller gives.
class Inputs {
 public:
  Inputs(const Model& model, Values* values) : model_(model), graph_(model.start()), values_(*values) {}

  void add(const fuseline_input& input) {
    add_photo(input);
    add_speech(input);
    add_text(input);
    if (input.source_weights == nullptr) return;
    if (!graph_.reads("source_weights")) throw Failure("this model reads one thing, so source_weights must be NULL");
    const int64_t count = input.source_weight_count;
    add_row("source_weights", input.source_weights, count, kFloat, sizeof(float), {count});
  }

  void add_row(const std::string& name, const void* data, int64_t count, int type, size_t size, std::vector<int64_t> shape) {
    if (count < 0) throw Failure("the number of " + name + " must not be negative");
    values_.emplace(name, model_.value(data, static_cast<size_t>(count) * size, type, shape));
  }

 private:
  void add_photo(const fuseline_input& input) {
    if (input.rgb == nullptr) return need("image", "rgb");
    if (!graph_.reads("image")) throw Failure("this model reads no photo, so rgb must be NULL");
    const int64_t width = input.width, height = input.height, stride = input.stride == 0 ? 3 * width : input.stride;
    if (width < 1 || height < 1 || width > kLongestEdge || height > kLongestEdge)
      throw Failure("width and height must be from 1 to " + std::to_string(kLongestEdge));
    if (stride < 3 * width) throw Failure("stride must be 0, or at least 3 * width");
    const uint8_t* pixels = input.rgb;
    const size_t row = static_cast<size_t>(3 * width), rows = static_cast<size_t>(height);
    if (stride != 3 * width) {
      close_.resize(row * rows);
      for (size_t y = 0; y < rows; ++y) memcpy(&close_[y * row], pixels + y * static_cast<size_t>(stride), row);
      pixels = close_.data();
    }
    values_.emplace("image", model_.value(pixels, row * rows, kUint8, {height, width, 3}));
  }

  void add_speech(const fuseline_input& input) {
    if (input.samples == nullptr) return need("samples", "samples");
    if (!graph_.reads("samples")) throw Failure("this model reads no speech, so samples must be NULL");
    add_row("samples", input.samples, input.sample_count, kFloat, sizeof(float), {input.sample_count});
  }

  void add_text(const fuseline_input& input) {
    std::vector<std::string> texts;
    for (const auto* names : {&graph_.needed, &graph_.optional})
      std::copy_if(names->begin(), names->end(), std::back_inserter(texts), is_text);
    if (input.ids == nullptr) {
      for (const std::string& each : texts) need(each, "ids");
      return;
    }
    if (texts.empty()) throw Failure("this model reads no text, so ids must be NULL");
    if (texts.size() > 1) throw Failure("this model reads several texts; ids is but one");
    add_row(texts[0], input.ids, input.id_count, kInt64, sizeof(int64_t), {1, input.id_count});
  }

  static bool is_text(const std::string& name) {
    return name.size() > 4 && name.compare(name.size() - 4, 4, "_ids") == 0 && name != "decoder_input_ids";
  }

  void need(const std::string& name, const char* field) const {
    if (graph_.needs(name)) throw Failure("this model reads " + name + ", and " + field + " is NULL");
  }

  const Model& model_;
  const Graph& graph_;
  Values& values_;
  std::vector<uint8_t> close_;  // a photo's rows without what lay between them
};

void add_options(const Model& model, const fuseline_options& options, Inputs* inputs, Values* values) {
  for (const auto& each : kWholeOptions)
    values->emplace(each.name, model.value(&(options.*each.field), sizeof(int64_t), kInt64, {}));
  for (const auto& each : kFloatOptions)
    values->emplace(each.name, model.value(&(options.*each.field), sizeof(float), kFloat, {}));
  const auto row = [inputs](const char* name, const int64_t* data, int64_t count, std::vector<int64_t> shape) {
    if (data != nullptr) inputs->add_row(name, data, count, kInt64, sizeof(int64_t), std::move(shape));
  };
  row("decoder_input_ids", options.decoder_input_ids, options.decoder_input_id_count, {1, options.decoder_input_id_count});
  row("eos_token_id", options.eos_token_ids, options.eos_token_id_count, {options.eos_token_id_count});
}

// The tokens that are certain: all that may still win begin with them, which are the open sequences and the best that has
// ended.
std::vector<int64_t> certain(const Onnxruntime& runtime, const Values& state) {
  const auto of = [&](const char* name, int type, size_t rank) { return tensor(runtime, value_of(state, name), type, rank); };
  const Tensor history = of("state.history", kInt64, 2), ended = of("state.finished_sequences", kInt64, 3);
  const float* const scores = static_cast<const float*>(of("state.scores", kFloat, 2).data);
  const float* const ended_scores = static_cast<const float*>(of("state.finished_scores", kFloat, 2).data);
  const bool closed = *static_cast<const bool*>(of("state.closed", kBool, 1).data);
  const size_t rows = static_cast<size_t>(history.shape[0]), longest = static_cast<size_t>(history.shape[1]);
  std::vector<const int64_t*> all;
  if (ended_scores[0] > kReachable) all.push_back(static_cast<const int64_t*>(ended.data));
  for (size_t row = 0; row < rows && !closed; ++row)
    if (scores[row] > kReachable) all.push_back(static_cast<const int64_t*>(history.data) + row * longest);
  std::vector<int64_t> shared;
  const auto shares = [&](size_t at) {
    return std::all_of(all.begin(), all.end(), [&](const int64_t* each) { return each[at] == all[0][at] && each[at] >= 0; });
  };
  while (!all.empty() && shared.size() < longest && shares(shared.size())) shared.push_back(all[0][shared.size()]);
  return shared;
}

// What a step has found, or none was made.
fuseline_result result_of(const Model& model, const Values& found) {
  fuseline_result result;
  if (found.empty()) return result;
  const Onnxruntime& runtime = model.runtime();
  const Tensor sequences = tensor(runtime, value_of(found, "sequences"), kInt64, 2);
  const Tensor scores = tensor(runtime, value_of(found, "sequences_scores"), kFloat, 1);
  const size_t count = static_cast<size_t>(scores.shape[0]);
  result.finished = *static_cast<const bool*>(tensor(runtime, value_of(found, "finished"), kBool, 0).data);
  result.length = static_cast<size_t>(sequences.shape[1]);
  const int64_t* const tokens = static_cast<const int64_t*>(sequences.data);
  result.tokens.assign(tokens, tokens + count * result.length);
  result.scores.assign(static_cast<const float*>(scores.data), static_cast<const float*>(scores.data) + count);
  if (!model.words()) return result;
  for (size_t i = 0; i < count; ++i) result.texts.push_back(model.words()->text(tokens + i * result.length, result.length));
  return result;
}

// Tells the caller what is new after each step.
class Teller {
 public:
  Teller(const Model& model, const fuseline_options& options) : model_(model), options_(options) {
    if (options.on_text != nullptr && !model.words())
      throw Failure("this model's tokenizer does not write texts word by word, so on_text must be NULL");
  }

  // Whether the caller wants to stop.
  bool tell(const Values& state, const Values& found) {
    if (options_.on_text == nullptr) return false;
    const fuseline_result result = result_of(model_, found);
    std::string piece, tentative;
    if (result.finished) {
      piece = pieces_.whole(result.texts.at(0));
    } else {
      const std::vector<int64_t> tokens = certain(model_.runtime(), state);
      piece = pieces_.grown(model_.words()->text(tokens.data(), tokens.size()));
      tentative = pieces_.tentative(result.texts.at(0));
    }
    if (piece.empty() && tentative == tentative_) return false;
    tentative_ = tentative;
    return options_.on_text(piece.c_str(), tentative.c_str(), options_.user_data) != 0;
  }

 private:
  const Model& model_;
  const fuseline_options& options_;
  Pieces pieces_;
  std::string tentative_;
};

}  // namespace

fuseline_result generate(const Model& model, const fuseline_input& input, const fuseline_options& options) {
  Running running(model.runtime(), options.cancel);
  Teller teller(model, options);
  Values state, found;
  Inputs inputs(model, &state);
  inputs.add(input);
  add_options(model, options, &inputs, &state);
  const bool partial = options.on_text != nullptr || options.cancel != nullptr;  // somebody may want what there is so far
  state.emplace("partial", model.value(&partial, sizeof partial, kBool, {}));
  try {
    for (auto& each : model.run(model.start(), &state, running.options(), false)) state[each.first] = std::move(each.second);
    // The caches that start.onnx gives may be one tensor under several names, so the first step writes new ones.
    for (bool in_place = false, more = true; more && !running.stopped(); in_place = true) {
      found = model.run(model.step(), &state, running.options(), in_place);
      for (auto& [name, value] : found)
        if (name.rfind("next.", 0) == 0) state["state." + name.substr(strlen("next."))] = std::move(value);
      more = !*static_cast<const bool*>(tensor(model.runtime(), value_of(found, "finished"), kBool, 0).data);
      if (teller.tell(state, found)) break;
    }
  } catch (const Failure&) {
    if (!running.stopped()) throw;
  }
  return result_of(model, found);
}

}  // namespace embedded
