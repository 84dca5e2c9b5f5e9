#include "model.h"

#include <string.h>

#include "failure.h"

#ifdef FUSELINE_LINKED_KERNELS
extern "C" OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base);
#endif

namespace embedded {
namespace {

constexpr const char *kDescription = "fuseline-embed.json", *kTable = "fuseline-embed.bin", *kWeights = "weights.bin";
constexpr int64_t kFormat = 1;
constexpr int32_t kMostThreads = 1024;
constexpr int kSilent = 4;  // only what ends the process is logged
constexpr const char* kCache = "next.past_key_values.";

using Register = OrtStatus*(OrtSessionOptions*, const OrtApiBase*);

#ifdef FUSELINE_LINKED_KERNELS
Register* const kLinked = RegisterCustomOps;
#else
Register* const kLinked = nullptr;
#endif

// What registers the kernels; null where there are none.
Register* kernels(const char* path) {
  if (path == nullptr) return kLinked;
  if (*path == '\0') return nullptr;
  Register* const found = reinterpret_cast<Register*>(symbol(open_library(path), "RegisterCustomOps"));
  if (found == nullptr) throw Failure(std::string(path) + " has no operators: it lacks RegisterCustomOps");
  return found;
}

size_t bytes_of(int type) { return type == fuseline::kInt64 ? sizeof(int64_t) : type == fuseline::kFloat ? sizeof(float) : 1; }

}  // namespace

const Value& value_of(const Values& values, const std::string& name) {
  const auto found = values.find(name);
  if (found == values.end()) throw Failure("the graphs of this model do not give " + name + "; export it again");
  return found->second;
}

Model::Model(const Files& files, const fuseline_settings& settings)
    : runtime_(settings.onnxruntime), description_(files.read(kDescription)), table_(files.path(kTable), files.read(kTable)) {
  describe(files, settings.check_weights != 0);
  env_ = runtime_.make<OrtEnv>(kReleaseEnv, entry::kCreateEnv, kSilent, "fuseline");
  memory_ = runtime_.make<OrtMemoryInfo>(kReleaseMemoryInfo, entry::kCreateCpuMemoryInfo, 0, 0);
  const auto options = session_options(files, settings);
  start_ = graph(files, "start", options.get());
  step_ = graph(files, "step", options.get());
}

void Model::describe(const Files& files, bool check_weights) {
  if (table_.value<int64_t>("format") != kFormat) table_.damaged("its format is one that this version of fuseline.h does not know");
  char* const defaults = reinterpret_cast<char*>(&defaults_);
  for (const Option& each : kOptions) table_.copy(std::string("option.") + each.name, defaults + each.place, bytes_of(each.type));
  if (table_.has("words.later")) words_.emplace(table_);
  for (const std::string name : {kDescription, "start.onnx", "step.onnx", kWeights})
    files.check(name, table_.value<Listed>("file." + name), check_weights || name != kWeights);
}

Onnxruntime::Owned<OrtSessionOptions> Model::session_options(const Files& files, const fuseline_settings& settings) const {
  if (settings.threads < 0 || settings.threads > kMostThreads) throw Failure("threads must be from 0 to " + std::to_string(kMostThreads));
  auto options = runtime_.make<OrtSessionOptions>(kReleaseSessionOptions, entry::kCreateSessionOptions);
  if (settings.threads > 0) runtime_.call(entry::kSetIntraOpNumThreads, options.get(), settings.threads);
  // Threads spin while a graph runs, which makes many small nodes faster, and not after it.
  runtime_.call(entry::kAddConfig, options.get(), "session.force_spinning_stop", "1");
  if (Register* const add = kernels(settings.kernels)) runtime_.check(add(options.get(), runtime_.base()));
  if (!files.in_memory()) return options;
  const std::filesystem::path name = kWeights;
  const entry::Character* names[] = {name.c_str()};
  char* data[] = {static_cast<char*>(const_cast<void*>(files.in_place(kWeights).data))};
  runtime_.call(entry::kAddFilesInMemory, options.get(), names, data, &files.in_place(kWeights).size, size_t{1});
  return options;
}

Graph Model::graph(const Files& files, const std::string& name, const OrtSessionOptions* options) const {
  Graph made;
  for (const std::string_view each : table_.list(name + ".needed")) made.inputs.emplace(each, true);
  for (const std::string_view each : table_.list(name + ".optional")) made.inputs.emplace(each, false);
  for (const std::string_view each : table_.list(name + ".outputs")) made.outputs.emplace_back(each);
  const std::string file = name + ".onnx";
  const OrtEnv* const env = env_.get();
  if (files.in_memory()) {
    const fuseline_file& found = files.in_place(file);
    made.session = runtime_.make<OrtSession>(kReleaseSession, entry::kCreateSessionFromArray, env, found.data, found.size, options);
  } else {
    made.session = runtime_.make<OrtSession>(kReleaseSession, entry::kCreateSession, env, files.on_disk(file).c_str(), options);
  }
  return made;
}

Value Model::value(const void* data, int type, const std::vector<int64_t>& shape) const {
  static int64_t nothing = 0;  // no tensor is made of null, not even an empty one
  void* const at = data == nullptr ? &nothing : const_cast<void*>(data);
  size_t bytes = bytes_of(type);
  for (const int64_t each : shape) bytes *= static_cast<size_t>(each);
  return runtime_.make<OrtValue>(kReleaseValue, entry::kCreateTensorWithData, memory_.get(), at, bytes, shape.data(), shape.size(), type);
}

Values Model::run(const Graph& graph, const Values& values, const OrtRunOptions* options, bool in_place) const {
  std::vector<const char*> input_names, output_names;
  std::vector<const OrtValue*> inputs;
  std::vector<OrtValue*> given;  // for outputs, where there is one
  for (const auto& [name, needed] : graph.inputs) {
    if (!needed && values.count(name) == 0) continue;
    input_names.push_back(name.c_str());
    inputs.push_back(value_of(values, name).get());
  }
  for (const std::string& name : graph.outputs) {
    const bool over = in_place && name.rfind(kCache, 0) == 0;
    output_names.push_back(name.c_str());
    given.push_back(over ? value_of(values, "state." + name.substr(strlen("next."))).get() : nullptr);
  }
  std::vector<OrtValue*> outputs = given;
  runtime_.call(entry::kRun, graph.session.get(), options, input_names.data(), inputs.data(), inputs.size(), output_names.data(),
                outputs.size(), outputs.data());
  Values results;
  for (size_t i = 0; i < outputs.size(); ++i)
    if (given[i] == nullptr) results.emplace(graph.outputs[i], runtime_.own(outputs[i], kReleaseValue));
  return results;
}

}  // namespace embedded
