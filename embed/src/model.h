// An open model: its description, its two graphs, its words. Nothing in it changes after it was opened.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fuseline.h"
#include "json.h"
#include "onnxruntime.h"
#include "words.h"

namespace embedded {

// Where the files of a model are: in a folder, or in memory.
class Files {
 public:
  explicit Files(const char* folder) : folder_(folder) {}
  Files(const fuseline_file* files, size_t count) : files_(files), count_(count) {}

  bool in_memory() const { return files_ != nullptr; }
  std::string path(const std::string& name) const { return in_memory() ? name : folder_ + "/" + name; }
  std::string read(const std::string& name) const;
  // Throws Failure where a file has another size than the description says: the weights are mapped, not read.
  void check_size(const std::string& name, int64_t bytes) const;
  const fuseline_file& file(const std::string& name) const;  // of those in memory
  const fuseline_file* begin() const { return files_; }
  const fuseline_file* end() const { return files_ + count_; }

 private:
  std::string folder_;
  const fuseline_file* files_ = nullptr;
  size_t count_ = 0;
};

// The options that are one value, by their names in the graphs.
template <class Type>
struct Option {
  const char* name;
  Type fuseline_options::*field;
};
constexpr Option<int64_t> kWholeOptions[] = {
    {"num_beams", &fuseline_options::num_beams},
    {"max_length", &fuseline_options::max_length},
    {"min_length", &fuseline_options::min_length},
    {"early_stopping", &fuseline_options::early_stopping},
    {"no_repeat_ngram_size", &fuseline_options::no_repeat_ngram_size},
    {"num_return_sequences", &fuseline_options::num_return_sequences},
    {"forced_bos_token_id", &fuseline_options::forced_bos_token_id},
    {"forced_eos_token_id", &fuseline_options::forced_eos_token_id}};
constexpr Option<float> kFloatOptions[] = {{"length_penalty", &fuseline_options::length_penalty},
                                           {"repetition_penalty", &fuseline_options::repetition_penalty}};

struct Graph {
  Onnxruntime::Owned<OrtSession> session;
  std::vector<std::string> inputs, outputs;

  bool reads(const std::string& name) const;
};

using Values = std::map<std::string, Value>;

class Model {
 public:
  Model(const Files& files, const fuseline_settings& settings);

  const Onnxruntime& runtime() const { return runtime_; }
  const std::string& description() const { return text_; }
  const fuseline_options& defaults() const { return defaults_; }
  const Graph& start() const { return start_; }
  const Graph& step() const { return step_; }
  const std::optional<Words>& words() const { return words_; }
  bool has_default(const std::string& input) const;

  // A tensor in memory of the caller's.
  Value value(const void* data, size_t bytes, int type, const std::vector<int64_t>& shape) const;
  // Runs a graph with those of the values that it reads. in_place: it writes its caches over those that it reads, which are
  // taken from the values then.
  Values run(const Graph& graph, Values* values, const OrtRunOptions* options, bool in_place) const;

 private:
  Graph open(const Files& files, const char* name, const OrtSessionOptions* options) const;
  Onnxruntime::Owned<OrtSessionOptions> session_options(const Files& files, const fuseline_settings& settings) const;
  const Json& default_of(const char* input) const;
  fuseline_options own_options() const;

  Onnxruntime runtime_;
  std::string text_;
  Json record_;
  Onnxruntime::Owned<OrtEnv> env_;
  Onnxruntime::Owned<OrtMemoryInfo> memory_;
  Graph start_, step_;
  std::optional<Words> words_;
  fuseline_options defaults_;
};

}  // namespace embedded
