#include "generate.h"

#include <string.h>

#include <algorithm>

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
    options_ = runtime.make<OrtRunOptions>(embedded::kReleaseRunOptions, embedded::entry::kCreateRunOptions);
    if (cancel_ == nullptr) return;
    const std::lock_guard<std::mutex> lock(cancel_->mutex_);
    if (cancel_->stopped_) runtime.call(embedded::entry::kSetTerminate, options_.get());
    cancel_->running_.emplace_back(&runtime, options_.get());
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

constexpr int64_t kLongestEdge = 1 << 20, kMost = INT32_MAX;
constexpr float kReachable = -5e8f;  // what is out of reach has a score of about -1e9

// What the graphs read of what the caller gives.
class Inputs {
 public:
  explicit Inputs(const Model& model) : model_(model), graph_(model.start()) {}

  Values take(const fuseline_input& input, const fuseline_options& options) {
    take_photo(input);
    take_text(input);
    if (fits(input.samples, "samples", "samples", "reads no speech")) add("samples", input.samples, {input.sample_count});
    if (fits(input.source_weights, "source_weights", "source_weights", "reads one thing"))
      add("source_weights", input.source_weights, {input.source_weight_count});
    for (const Option& each : kOptions) add(each.name, reinterpret_cast<const char*>(&options) + each.place, {}, each.type);
    if (options.decoder_input_ids != nullptr) add("decoder_input_ids", options.decoder_input_ids, {1, options.decoder_input_id_count});
    if (options.eos_token_ids != nullptr) add("eos_token_id", options.eos_token_ids, {options.eos_token_id_count});
    take_spoken("language", options.language, &language_);
    take_spoken("task", options.task, &task_);
    return std::move(values_);
  }

 private:
  // Whether a field is given. Throws Failure where the model does not read it, or must.
  bool fits(const void* given, const char* field, const std::string& input, const char* lacking) const {
    if (given == nullptr && graph_.needs(input)) throw Failure("this model reads " + input + ", and " + field + " is NULL");
    if (given != nullptr && !graph_.reads(input))
      throw Failure(std::string("this model ") + lacking + ", so " + field + " must be NULL");
    return given != nullptr;
  }

  template <class Type>
  void add(const std::string& name, const Type* data, const std::vector<int64_t>& shape, int type = kElement<Type>) {
    for (const int64_t each : shape)
      if (each < 0 || each > kMost) throw Failure("the number of " + name + " must be from 0 to " + std::to_string(kMost));
    values_.emplace(name, model_.value(data, type, shape));
  }

  void take_photo(const fuseline_input& input) {
    if (!fits(input.rgb, "rgb", "image", "reads no photo")) return;
    const int64_t width = input.width, height = input.height;
    if (width < 1 || height < 1 || width > kLongestEdge || height > kLongestEdge)
      throw Failure("width and height must be from 1 to " + std::to_string(kLongestEdge));
    const int64_t row = 3 * width, stride = input.stride == 0 ? row : input.stride;
    if (stride < row || stride > kMost) throw Failure("stride must be 0, or at least 3 * width and at most " + std::to_string(kMost));
    const uint8_t* pixels = input.rgb;
    if (stride != row) {
      for (int64_t y = 0; y < height; ++y) close_.insert(close_.end(), pixels + y * stride, pixels + y * stride + row);
      pixels = close_.data();
    }
    add("image", pixels, {height, width, 3});
  }

  void take_text(const fuseline_input& input) {
    const Texts texts = model_.table().list("texts");
    if (input.ids != nullptr && texts.size() > 1) throw Failure("this model reads several texts; ids is but one");
    const std::string name(texts.empty() ? "input_ids" : texts[0]);
    if (fits(input.ids, "ids", name, "reads no text")) add(name, input.ids, {1, input.id_count});
  }

  void take_spoken(const std::string& input, const char* name, int64_t* token) {
    if (!fits(name, input.c_str(), input, "does not know several languages")) return;
    const std::string known = input + "." + name;
    if (!model_.table().has(known))
      throw Failure(input + " must be one of the " + input + "s that fuseline-embed.json lists under speech");
    *token = model_.table().value<int64_t>(known);
    add(input, token, {});
  }

  const Model& model_;
  const Graph& graph_;
  Values values_;
  std::vector<uint8_t> close_;  // a photo's rows without what lay between them
  int64_t language_ = 0, task_ = 0;
};

// The tokens that are certain: all that may still win begin with them, which are the open sequences and the best that has
// ended.
std::vector<int64_t> certain(const Model& model, const Values& state) {
  const auto history = model.read<int64_t>(state, "state.history", 2);
  const auto scores = model.read<float>(state, "state.scores", 2), ended = model.read<float>(state, "state.finished_scores", 2);
  const size_t rows = static_cast<size_t>(history.shape[0]), longest = static_cast<size_t>(history.shape[1]);
  std::vector<const int64_t*> all;
  if (ended.data[0] > kReachable) all.push_back(model.read<int64_t>(state, "state.finished_sequences", 3).data);
  for (size_t row = 0; row < rows && !*model.read<bool>(state, "state.closed", 1).data; ++row)
    if (scores.data[row] > kReachable) all.push_back(history.data + row * longest);
  std::vector<int64_t> shared;
  const auto shares = [&](size_t at) {
    return std::all_of(all.begin(), all.end(), [&](const int64_t* each) { return each[at] == all[0][at] && each[at] >= 0; });
  };
  while (!all.empty() && shared.size() < longest && shares(shared.size())) shared.push_back(all[0][shared.size()]);
  return shared;
}

bool finished(const Model& model, const Values& found) { return *model.read<bool>(found, "finished", 0).data; }

// What a step has found, or none was made.
fuseline_result result_of(const Model& model, const Values& found) {
  fuseline_result result;
  if (found.empty()) return result;
  const auto sequences = model.read<int64_t>(found, "sequences", 2);
  const auto scores = model.read<float>(found, "sequences_scores", 1);
  result.finished = finished(model, found);
  result.length = static_cast<size_t>(sequences.shape[1]);
  result.scores.assign(scores.data, scores.data + scores.shape[0]);
  result.tokens.assign(sequences.data, sequences.data + result.scores.size() * result.length);
  for (size_t i = 0; i < result.scores.size() && model.words(); ++i)
    result.texts.push_back(model.words()->text(&result.tokens[i * result.length], result.length));
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
      const std::vector<int64_t> tokens = certain(model_, state);
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
  Inputs inputs(model);
  Values state = inputs.take(input, options), found;
  const bool partial = options.on_text != nullptr || options.cancel != nullptr;  // somebody may want what there is so far
  state.emplace("partial", model.value(&partial, kElement<bool>, {}));
  try {
    for (auto& [name, value] : model.run(model.start(), state, running.options(), false)) state[name] = std::move(value);
    // The caches that start.onnx gives may be one tensor under several names, so the first step writes new ones.
    for (bool in_place = false, more = true; more && !running.stopped(); in_place = true) {
      found = model.run(model.step(), state, running.options(), in_place);
      for (auto& [name, value] : found)
        if (name.rfind("next.", 0) == 0) state["state." + name.substr(strlen("next."))] = std::move(value);
      more = !finished(model, found);
      if (teller.tell(state, found)) break;
    }
  } catch (const Failure&) {
    if (!running.stopped()) throw;
  }
  return result_of(model, found);
}

}  // namespace embedded
