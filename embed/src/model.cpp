#include "model.h"

#include <string.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "failure.h"
#include "hash.h"

#ifdef FUSELINE_LINKED_KERNELS
extern "C" OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base);
#endif

namespace embedded {
namespace {

constexpr const char *kDescription = "fuseline-embed.json", *kWeights = "weights.bin";
constexpr int64_t kFormat = 1, kMostExact = int64_t{1} << 53;  // beyond it not every whole number is a double
constexpr int kSilent = 4;  // only what ends the process is logged
constexpr const char* kCache = "next.past_key_values.";

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

// The own value of an option, which is in the description of the graph that reads it.
const Json& default_of(const Json& record, const std::string& name) {
  for (const char* graph : {"start", "step"})
    for (const Json& each : record.at("graphs").at(graph).at("inputs").items())
      if (each.at("name").text() == name) return each.at("default");
  throw Failure("it lacks the option " + name);
}

// What `use` makes of a file of JSON. What is wrong in it becomes a sentence that names the file.
template <class Use>
void read_json(const Files& files, const std::string& name, const std::string& content, Use use) {
  try {
    use(Json::read(content));
  } catch (const Failure& failure) {
    throw Failure(files.path(name) + " is damaged: " + failure.what() + "; copy it again, or export the model again");
  }
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

std::string Files::hash_of(const std::string& name) const {
  Sha256 hash;
  if (in_memory()) {
    hash.add(file(name).data, file(name).size);
  } else {
    std::ifstream stream(std::filesystem::u8path(path(name)), std::ios::binary);
    std::vector<char> part(1 << 16);
    while (stream.read(part.data(), static_cast<std::streamsize>(part.size())) || stream.gcount() > 0)
      hash.add(part.data(), static_cast<size_t>(stream.gcount()));
  }
  return hash.hexadecimal();
}

void Files::check(const Listed& listed, bool hash) const {
  const std::string where = path(listed.name);
  std::error_code error;
  const uint64_t found = in_memory() ? file(listed.name).size : std::filesystem::file_size(std::filesystem::u8path(where), error);
  if (error) throw Failure(where + " cannot be read: " + error.message());
  if (found != listed.bytes)
    throw Failure(where + " is damaged: it has " + std::to_string(found) + " bytes instead of " + std::to_string(listed.bytes) +
                  "; copy it again");
  if (hash && hash_of(listed.name) != listed.sha256)
    throw Failure(where + " is damaged: its sha256 is not the one that " + kDescription + " lists; copy it again");
}

const fuseline_file& Files::file(const std::string& name) const {
  const auto found = std::find_if(files_, files_ + count_, [&](const fuseline_file& each) { return each.name == name; });
  if (found == files_ + count_) throw Failure(name + " is not among the files in memory");
  return *found;
}

const Value& value_of(const Values& values, const std::string& name) {
  const auto found = values.find(name);
  if (found == values.end()) throw Failure("the graphs of this model do not give " + name + "; export it again");
  return found->second;
}

Model::Model(const Files& files, const fuseline_settings& settings) : runtime_(settings.onnxruntime) {
  describe(files, settings.check_weights != 0);
  OrtEnv* env = nullptr;
  runtime_.call(entry::kCreateEnv, kSilent, "fuseline", &env);
  env_ = runtime_.owned(env, kReleaseEnv);
  OrtMemoryInfo* memory = nullptr;
  runtime_.call(entry::kCreateCpuMemoryInfo, 0, 0, &memory);
  memory_ = runtime_.owned(memory, kReleaseMemoryInfo);
  const auto options = session_options(files, settings);
  start_ = open(files, "start.onnx", options.get());
  step_ = open(files, "step.onnx", options.get());
}

void Model::describe(const Files& files, bool check_weights) {
  description_ = files.read(kDescription);
  std::vector<Listed> listed;
  read_json(files, kDescription, description_, [&](const Json& record) {
    if (record.at("format").whole(0, kMostExact) != kFormat)
      throw Failure("its format is one that this version of fuseline.h does not know");
    for (const auto& each : kWholeOptions) defaults_.*each.field = default_of(record, each.name).whole(-kMostExact, kMostExact);
    for (const auto& each : kFloatOptions) defaults_.*each.field = static_cast<float>(default_of(record, each.name).number());
    std::vector<std::string> names = {"start.onnx", "step.onnx", kWeights};
    if (!record.at("words").is_null()) names.push_back(record.at("words").text());
    for (const std::string& name : names) {
      const Json& about = record.at("files").at(name.c_str());
      listed.push_back({name, static_cast<uint64_t>(about.at("bytes").whole(0, kMostExact)), about.at("sha256").text()});
    }
  });
  for (const Listed& each : listed) files.check(each, check_weights || each.name != kWeights);
  const std::string& words = listed.back().name;
  if (words != kWeights) read_json(files, words, files.read(words), [&](const Json& record) { words_.emplace(record); });
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
    const std::filesystem::path name = kWeights;
    const std::filesystem::path::value_type* names[] = {name.c_str()};
    char* data[] = {static_cast<char*>(const_cast<void*>(files.file(kWeights).data))};
    runtime_.call(entry::kAddFilesInMemory, made, names, data, &files.file(kWeights).size, size_t{1});
  }
  return options;
}

Graph Model::open(const Files& files, const std::string& file, const OrtSessionOptions* options) const {
  OrtSession* made = nullptr;
  if (files.in_memory())
    runtime_.call(entry::kCreateSessionFromArray, env_.get(), files.file(file).data, files.file(file).size, options, &made);
  else
    runtime_.call(entry::kCreateSession, env_.get(), std::filesystem::u8path(files.path(file)).c_str(), options, &made);
  Graph graph{runtime_.owned(made, kReleaseSession), {}, {}, {}};
  graph.needed = names(made, entry::kInputCount, entry::kInputName);
  graph.optional = names(made, entry::kOptionalCount, entry::kOptionalName);
  graph.outputs = names(made, entry::kOutputCount, entry::kOutputName);
  return graph;
}

std::vector<std::string> Model::names(const OrtSession* session, Entry<const OrtSession*, size_t*> count,
                                      entry::NameOf name) const {
  OrtAllocator* allocator = nullptr;
  size_t size = 0;
  runtime_.call(entry::kDefaultAllocator, &allocator);
  runtime_.call(count, session, &size);
  std::vector<std::string> found(size);
  for (size_t i = 0; i < size; ++i) {
    char* text = nullptr;
    runtime_.call(name, session, i, allocator, &text);
    found[i] = text;
    runtime_.call(entry::kFree, allocator, text);
  }
  return found;
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
  for (const auto* names : {&graph.needed, &graph.optional})
    for (const std::string& name : *names) {
      if (names == &graph.optional && values->count(name) == 0) continue;
      input_names.push_back(name.c_str());
      inputs.push_back(value_of(*values, name).get());
    }
  for (const std::string& name : graph.outputs) {
    const auto cache = in_place && name.rfind(kCache, 0) == 0 ? values->find("state." + name.substr(strlen("next."))) : values->end();
    written.push_back(cache == values->end() ? nullptr : &cache->second);
    output_names.push_back(name.c_str());
    outputs.push_back(written.back() == nullptr ? nullptr : written.back()->get());
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
