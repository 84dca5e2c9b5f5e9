// An open model: its description, its two graphs, its words. Nothing in it changes after it was opened.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fuseline.h"
#include "json.h"
#include "onnxruntime.h"
#include "words.h"

namespace embedded {

// A file as the description lists it.
struct Listed {
  std::string name;
  uint64_t bytes;
  std::string sha256;
};

// Where the files of a model are: in a folder, or in memory.
class Files {
 public:
  explicit Files(const char* folder) : folder_(folder) {}
  Files(const fuseline_file* files, size_t count) : files_(files), count_(count) {}

  bool in_memory() const { return files_ != nullptr; }
  std::string path(const std::string& name) const { return in_memory() ? name : folder_ + "/" + name; }
  std::string read(const std::string& name) const;
  // Throws Failure where a file is not the one that is listed; hash: whether all of it is read for that.
  void check(const Listed& listed, bool hash) const;
  const fuseline_file& file(const std::string& name) const;  // of those in memory

 private:
  std::string hash_of(const std::string& name) const;

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
  std::vector<std::string> needed, optional, outputs;  // the names of its inputs, without and with a default, and of its outputs

  bool needs(const std::string& name) const { return has(needed, name); }
  bool reads(const std::string& name) const { return needs(name) || has(optional, name); }

 private:
  static bool has(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  }
};

using Values = std::map<std::string, Value>;

// Throws Failure where a graph has not given it.
const Value& value_of(const Values& values, const std::string& name);

class Model {
 public:
  Model(const Files& files, const fuseline_settings& settings);

  const Onnxruntime& runtime() const { return runtime_; }
  const std::string& description() const { return description_; }
  const fuseline_options& defaults() const { return defaults_; }
  const Graph& start() const { return start_; }
  const Graph& step() const { return step_; }
  const std::optional<Words>& words() const { return words_; }

  // A tensor in memory of the caller's.
  Value value(const void* data, size_t bytes, int type, const std::vector<int64_t>& shape) const;
  // Runs a graph with those of the values that it reads. in_place: it writes its caches over those that it reads, which are
  // taken from the values then.
  Values run(const Graph& graph, Values* values, const OrtRunOptions* options, bool in_place) const;

 private:
  void describe(const Files& files, bool check_weights);
  Onnxruntime::Owned<OrtSessionOptions> session_options(const Files& files, const fuseline_settings& settings) const;
  Graph open(const Files& files, const std::string& file, const OrtSessionOptions* options) const;
  std::vector<std::string> names(const OrtSession* session, Entry<const OrtSession*, size_t*> count, entry::NameOf name) const;

  Onnxruntime runtime_;
  std::string description_;
  fuseline_options defaults_ = {};
  std::optional<Words> words_;
  Onnxruntime::Owned<OrtEnv> env_;
  Onnxruntime::Owned<OrtMemoryInfo> memory_;
  Graph start_, step_;
};

}  // namespace embedded
