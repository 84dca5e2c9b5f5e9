// The functions of fuseline.h: NULL is refused, and what is thrown inside becomes a sentence.
#include "fuseline.h"

#include <math.h>

#include <new>
#include <string>
#include <type_traits>

#include "failure.h"
#include "generate.h"
#include "model.h"

struct fuseline_model {
  embedded::Model model;
};

namespace {

thread_local std::string last_error;

void remember(const char* sentence) noexcept {
  try {
    last_error = sentence;
  } catch (...) {
    last_error.clear();  // no memory for more
  }
}

// What work returns; on failure the other value, and its sentence is remembered.
template <class Work>
auto attempt(std::invoke_result_t<Work> otherwise, Work work) noexcept {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    remember("there is not enough memory");
  } catch (const std::exception& error) {
    remember(error.what());
  } catch (...) {
    remember("an error without a name");
  }
  return otherwise;
}

void need(const void* pointer, const char* name) {
  if (pointer == nullptr) throw embedded::Failure(std::string(name) + " is NULL");
}

}  // namespace

const char* fuseline_version(void) { return FUSELINE_LIBRARY_VERSION; }

const char* fuseline_last_error(void) { return last_error.c_str(); }

int fuseline_default_settings(fuseline_settings* settings) {
  return attempt(-1, [&] {
    need(settings, "settings");
    *settings = fuseline_settings{};
    return 0;
  });
}

fuseline_model* fuseline_open(const char* folder, const fuseline_settings* settings) {
  return attempt(static_cast<fuseline_model*>(nullptr), [&] {
    need(folder, "folder");
    need(settings, "settings");
    return new fuseline_model{embedded::Model(embedded::Files(folder), *settings)};
  });
}

fuseline_model* fuseline_open_memory(const fuseline_file* files, size_t count, const fuseline_settings* settings) {
  return attempt(static_cast<fuseline_model*>(nullptr), [&] {
    need(files, "files");
    need(settings, "settings");
    for (size_t i = 0; i < count; ++i) {
      need(files[i].name, "a file's name");
      need(files[i].data, files[i].name);
    }
    return new fuseline_model{embedded::Model(embedded::Files(files, count), *settings)};
  });
}

const char* fuseline_description(const fuseline_model* model) {
  return attempt(static_cast<const char*>(nullptr), [&] {
    need(model, "model");
    return model->model.description().c_str();
  });
}

void fuseline_close(fuseline_model* model) { delete model; }

int fuseline_no_input(fuseline_input* input) {
  return attempt(-1, [&] {
    need(input, "input");
    *input = fuseline_input{};
    return 0;
  });
}

int fuseline_default_options(const fuseline_model* model, fuseline_options* options) {
  return attempt(-1, [&] {
    need(model, "model");
    need(options, "options");
    *options = model->model.defaults();
    return 0;
  });
}

fuseline_result* fuseline_generate(const fuseline_model* model, const fuseline_input* input, const fuseline_options* options) {
  return attempt(static_cast<fuseline_result*>(nullptr), [&] {
    need(model, "model");
    need(input, "input");
    need(options, "options");
    return new fuseline_result(embedded::generate(model->model, *input, *options));
  });
}

fuseline_cancel* fuseline_new_cancel(void) {
  return attempt(static_cast<fuseline_cancel*>(nullptr), [] { return new fuseline_cancel; });
}

int fuseline_stop(fuseline_cancel* cancel) {
  return attempt(-1, [&] {
    need(cancel, "cancel");
    cancel->stop();
    return 0;
  });
}

void fuseline_free_cancel(fuseline_cancel* cancel) { delete cancel; }

size_t fuseline_result_count(const fuseline_result* result) { return result == nullptr ? 0 : result->scores.size(); }

int fuseline_result_finished(const fuseline_result* result) {
  return attempt(-1, [&] {
    need(result, "result");
    return result->finished ? 1 : 0;
  });
}

namespace {

void need_place(const fuseline_result* result, size_t place) {
  need(result, "result");
  if (place >= result->scores.size()) throw embedded::Failure("the result has " + std::to_string(result->scores.size()) + " texts");
}

}  // namespace

const char* fuseline_result_text(const fuseline_result* result, size_t place) {
  return attempt(static_cast<const char*>(nullptr), [&] {
    need_place(result, place);
    if (result->texts.empty()) throw embedded::Failure("this model's tokenizer does not write texts word by word; take the tokens");
    return result->texts[place].c_str();
  });
}

float fuseline_result_score(const fuseline_result* result, size_t place) {
  return attempt(NAN, [&] {
    need_place(result, place);
    return result->scores[place];
  });
}

const int64_t* fuseline_result_tokens(const fuseline_result* result, size_t place, size_t* count) {
  return attempt(static_cast<const int64_t*>(nullptr), [&] {
    need_place(result, place);
    need(count, "count");
    *count = result->length;
    return result->tokens.data() + place * result->length;
  });
}

void fuseline_free_result(fuseline_result* result) { delete result; }
