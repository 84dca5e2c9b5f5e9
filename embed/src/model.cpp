#include "model.h"

#include <string.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "failure.h"

#ifdef FUSELINE_LINKED_KERNELS
extern "C" OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base);
#endif

namespace embedded {
namespace {

constexpr const char* kDescription = "fuseline-embed.json";
constexpr int64_t kFormat = 1;
constexpr int kSilent = 4;  // only what ends the process is logged
constexpr const char* kCache = "past_key_values.";

using Register = OrtStatus*(OrtSessionOptions*, const OrtApiBase*);

// What registers the kernels; null where there are none.
Register* kernels(const char* path) {
  if (path == nullptr) {
#ifdef FUSELINE_LINKED_KERNELS
    return RegisterCustomOps;
#else
    return nullptr;
#endif
  }
  if (*path == '\0') return nullptr;
  Register* const found = reinterpret_cast<Register*>(symbol(open_library(path), "RegisterCustomOps"));
  if (found == nullptr) throw Failure(std::string(path) + " has no operators: it lacks RegisterCustomOps");
  return found;
}

std::vector<std::string> names_of(const Json& tensors) {
  std::vector<std::string> names;
  for (const Json& each : tensors.items()) names.push_back(each.at("name").text());
  return names;
}

// Those of two lists of tensors, one after the other, that has this name; null where none has.
const Json* tensor_named(const Json& record, const std::string& name) {
  for (const char* graph : {"start", "step"})
    for (const Json& each : record.at("graphs").at(graph).at("inputs").items())
      if (each.at("name").text() == name) return &each;
  return nullptr;
}

}  // namespace

std::string Files::read(const std::string& name) const {
  if (in_memory()) return {static_cast<const char*>(file(name).data), file(name).size};
  std::ifstream stream(std::filesystem::u8path(path(name)), std::ios::binary);
  if (!stream) throw Failure(path(name) + " cannot be read; `fuseline export --embed` writes the folders that can be opened");
  std::string content{std::istreambuf_iterator<char>(stream), {}};
  if (stream.bad()) throw Failure(path(name) + " cannot be read to its end");
  return content;
}

void Files::check_size(const std::string& name, int64_t bytes) const {
  std::error_code error;
  const auto found = in_memory() ? file(name).size : std::filesystem::file_size(std::filesystem::u8path(path(name)), error);
  if (error) throw Failure(path(name) + " cannot be read: " + error.message());
  if (found != static_cast<uint64_t>(bytes))
    throw Failure(path(name) + " has " + std::to_string(found) + " bytes instead of " + std::to_string(bytes) + "; copy it again");
}

const fuseline_file& Files::file(const std::string& name) const {
  for (const fuseline_file& each : *this)
    if (each.name == name) return each;
  throw Failure(name + " is not among the files in memory");
}

bool Graph::reads(const std::string& name) const { return std::find(inputs.begin(), inputs.end(), name) != inputs.end(); }

Model::Model(const Files& files, const fuseline_settings& settings)
    : runtime_(settings.onnxruntime), text_(files.read(kDescription)), record_(Json::read(text_, files.path(kDescription))) {
  if (record_.at("format").whole() != kFormat)
    throw Failure(files.path(kDescription) + " is of a format that this version of fuseline.h does not know; use a newer one");
  defaults_ = own_options();
  OrtEnv* env = nullptr;
  runtime_.call(entry::kCreateEnv, kSilent, "fuseline", &env);
  env_ = runtime_.owned(env, kReleaseEnv);
  OrtMemoryInfo* memory = nullptr;
  runtime_.call(entry::kCreateCpuMemoryInfo, 0, 0, &memory);
  memory_ = runtime_.owned(memory, kReleaseMemoryInfo);
  for (const char* const name : {"start.onnx", "step.onnx", "weights.bin"})
    files.check_size(name, record_.at("files").at(name).at("bytes").whole());
  const auto options = session_options(files, settings);
  start_ = open(files, "start", options.get());
  step_ = open(files, "step", options.get());
  const Json& words = record_.at("words");
  if (!words.is_null()) words_.emplace(Json::read(files.read(words.text()), files.path(words.text())));
}

Onnxruntime::Owned<OrtSessionOptions> Model::session_options(const Files& files, const fuseline_settings& settings) const {
  OrtSessionOptions* made = nullptr;
  runtime_.call(entry::kCreateSessionOptions, &made);
  auto options = runtime_.owned(made, kReleaseSessionOptions);
  if (settings.threads < 0) throw Failure("threads must be 0 or more");
  if (settings.threads > 0) runtime_.call(entry::kSetIntraOpNumThreads, made, settings.threads);
  // Threads spin while a graph runs, which makes many small nodes faster, and not after it.
  runtime_.call(entry::kAddConfig, made, "session.force_spinning_stop", "1");
  if (Register* const add = kernels(settings.kernels)) runtime_.check(add(made, runtime_.base()));
  if (files.in_memory()) {
    const std::filesystem::path name = "weights.bin";
    const std::filesystem::path::value_type* names[] = {name.c_str()};
    char* data[] = {static_cast<char*>(const_cast<void*>(files.file("weights.bin").data))};
    runtime_.call(entry::kAddFilesInMemory, made, names, data, &files.file("weights.bin").size, size_t{1});
  }
  return options;
}

Graph Model::open(const Files& files, const char* name, const OrtSessionOptions* options) const {
  const Json& record = record_.at("graphs").at(name);
  const std::string& file = record.at("file").text();
  OrtSession* session = nullptr;
  if (files.in_memory())
    runtime_.call(entry::kCreateSessionFromArray, env_.get(), files.file(file).data, files.file(file).size, options, &session);
  else
    runtime_.call(entry::kCreateSession, env_.get(), std::filesystem::u8path(files.path(file)).c_str(), options, &session);
  return {runtime_.owned(session, kReleaseSession), names_of(record.at("inputs")), names_of(record.at("outputs"))};
}

bool Model::has_default(const std::string& input) const {
  const Json* const found = tensor_named(record_, input);
  return found != nullptr && found->find("default") != nullptr;
}

const Json& Model::default_of(const char* input) const {
  const Json* const found = tensor_named(record_, input);
  if (found == nullptr) throw Failure(std::string("this model does not read the option ") + input + "; export it again");
  return found->at("default");
}

fuseline_options Model::own_options() const {
  fuseline_options own = {};
  for (const auto& each : kWholeOptions) own.*each.field = default_of(each.name).whole();
  for (const auto& each : kFloatOptions) own.*each.field = static_cast<float>(default_of(each.name).number());
  return own;
}

Value Model::value(const void* data, size_t bytes, int type, const std::vector<int64_t>& shape) const {
  static int64_t nothing = 0;  // no tensor is made of null, not even an empty one
  OrtValue* made = nullptr;
  void* const at = data == nullptr ? &nothing : const_cast<void*>(data);
  runtime_.call(entry::kCreateTensorWithData, memory_.get(), at, bytes, shape.data(), shape.size(), type, &made);
  return runtime_.owned(made, kReleaseValue);
}

Values Model::run(const Graph& graph, Values* values, const OrtRunOptions* options, bool in_place) const {
  std::vector<const char*> input_names, output_names;
  std::vector<const OrtValue*> inputs;
  std::vector<OrtValue*> outputs;
  std::vector<Value*> written;  // where a value is that an output is written over
  for (const std::string& name : graph.inputs) {
    const auto found = values->find(name);
    if (found == values->end()) continue;  // it has a default
    input_names.push_back(name.c_str());
    inputs.push_back(found->second.get());
  }
  for (const std::string& name : graph.outputs) {
    const bool over = in_place && name.compare(0, strlen("next."), "next.") == 0 && name.find(kCache) == strlen("next.");
    written.push_back(over ? &values->at("state." + name.substr(strlen("next."))) : nullptr);
    output_names.push_back(name.c_str());
    outputs.push_back(over ? written.back()->get() : nullptr);
  }
  runtime_.call(entry::kRun, graph.session.get(), options, input_names.data(), inputs.data(), inputs.size(), output_names.data(),
                outputs.size(), outputs.data());
  Values results;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (written[i] != nullptr) written[i]->release();
    results.emplace(graph.outputs[i], runtime_.owned(outputs[i], kReleaseValue));
  }
  return results;
}

}  // namespace embedded
