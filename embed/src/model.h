// An open model: what is known of it, its two graphs, its words. Nothing in it changes after it was opened.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "files.h"
#include "fuseline.h"
#include "onnxruntime.h"
#include "table.h"
#include "words.h"

namespace embedded {

// The options that are one value, by their names in the graphs.
struct Option {
  const char* name;
  int type;
  size_t place;  // in fuseline_options
};
constexpr Option kOptions[] = {
    {"num_beams", fuseline::kInt64, offsetof(fuseline_options, num_beams)},
    {"max_length", fuseline::kInt64, offsetof(fuseline_options, max_length)},
    {"min_length", fuseline::kInt64, offsetof(fuseline_options, min_length)},
    {"early_stopping", fuseline::kInt64, offsetof(fuseline_options, early_stopping)},
    {"no_repeat_ngram_size", fuseline::kInt64, offsetof(fuseline_options, no_repeat_ngram_size)},
    {"num_return_sequences", fuseline::kInt64, offsetof(fuseline_options, num_return_sequences)},
    {"forced_bos_token_id", fuseline::kInt64, offsetof(fuseline_options, forced_bos_token_id)},
    {"forced_eos_token_id", fuseline::kInt64, offsetof(fuseline_options, forced_eos_token_id)},
    {"length_penalty", fuseline::kFloat, offsetof(fuseline_options, length_penalty)},
    {"repetition_penalty", fuseline::kFloat, offsetof(fuseline_options, repetition_penalty)}};

struct Graph {
  std::map<std::string, bool> inputs;  // by name, whether it must be given; others have a default
  std::vector<std::string> outputs;
  Onnxruntime::Owned<OrtSession> session;

  bool reads(const std::string& name) const { return inputs.count(name) > 0; }
  bool needs(const std::string& name) const { return reads(name) && inputs.at(name); }
};

using Values = std::map<std::string, Value>;

// Throws Failure where a graph has not given it.
const Value& value_of(const Values& values, const std::string& name);

class Model {
 public:
  Model(const Files& files, const fuseline_settings& settings);

  const Onnxruntime& runtime() const { return runtime_; }
  const std::string& description() const { return description_; }
  const Table& table() const { return table_; }
  const fuseline_options& defaults() const { return defaults_; }
  const Graph& start() const { return start_; }
  const Graph& step() const { return step_; }
  const std::optional<Words>& words() const { return words_; }

  // A tensor in memory of the caller's. type: an ONNXTensorElementDataType.
  Value value(const void* data, int type, const std::vector<int64_t>& shape) const;
  // One of the values. Throws Failure where it is not there or not of this type and rank.
  template <class Type>
  Tensor<Type> read(const Values& values, const std::string& name, size_t rank) const {
    Tensor<Type> found;
    found.data = static_cast<const Type*>(tensor(runtime_, value_of(values, name), kElement<Type>, rank, &found.shape));
    return found;
  }
  // Runs a graph with those of the values that it reads. in_place: it writes its caches over those that it reads, which stay
  // in the values and are none of the results.
  Values run(const Graph& graph, const Values& values, const OrtRunOptions* options, bool in_place) const;

 private:
  void describe(const Files& files, bool check_weights);
  Graph graph(const Files& files, const std::string& name, const OrtSessionOptions* options) const;
  Onnxruntime::Owned<OrtSessionOptions> session_options(const Files& files, const fuseline_settings& settings) const;

  const Onnxruntime runtime_;
  const std::string description_;
  const Table table_;
  fuseline_options defaults_ = {};
  std::optional<Words> words_;
  Onnxruntime::Owned<OrtEnv> env_;
  Onnxruntime::Owned<OrtMemoryInfo> memory_;
  Graph start_, step_;
};

}  // namespace embedded
