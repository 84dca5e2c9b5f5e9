// A call: start.onnx once, and step.onnx until it says that all is finished, or somebody stops it.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "fuseline.h"
#include "model.h"

// What stops calls: those that run are known to it.
struct fuseline_cancel {
 public:
  void stop();
  bool stopped();

 private:
  friend class Running;
  std::mutex mutex_;
  bool stopped_ = false;
  std::vector<std::pair<const embedded::Onnxruntime*, OrtRunOptions*>> running_;
};

struct fuseline_result {
  bool finished = false;
  size_t length = 0;            // tokens of each sequence
  std::vector<int64_t> tokens;  // of all sequences
  std::vector<float> scores;
  std::vector<std::string> texts;  // none where the tokenizer has no words
};

namespace embedded {

fuseline_result generate(const Model& model, const fuseline_input& input, const fuseline_options& options);

}  // namespace embedded
