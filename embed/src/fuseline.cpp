// The functions of fuseline.h: NULL is refused, and what is thrown inside becomes a sentence.
#include "fuseline.h"

#include <math.h>

#include <new>
#include <string>
#include <type_traits>

#include "failure.h"
#include "generate.h"
#include "model.h"
#include "utf8.h"

struct fuseline_model {
  embedded::Model model;
};

namespace {

thread_local std::string last_error;

void remember(const char* sentence) noexcept {
  try {
    last_error = embedded::good_utf8(sentence);  // a damaged file's names may be anything
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

// The same pointer. Throws Failure for NULL.
template <class Pointer>
Pointer need(Pointer pointer, const char* name) {
  if (pointer == nullptr) throw embedded::Failure(std::string(name) + " is NULL");
  return pointer;
}

// Of a function that asks for a text of a result, by its place.
template <class Found, class Work>
Found found(const fuseline_result* result, size_t place, Found otherwise, Work work) noexcept {
  return attempt(otherwise, [&]() -> Found {
    const size_t count = need(result, "result")->scores.size();
    if (place >= count) throw embedded::Failure("the result has " + std::to_string(count) + " texts");
    return work();
  });
}

// Of a function that returns 0, or -1 on failure.
template <class Work>
int done(Work work) noexcept {
  return attempt(-1, [&] { return work(), 0; });
}

}  // namespace

const char* fuseline_version(void) { return FUSELINE_LIBRARY_VERSION; }
const char* fuseline_last_error(void) { return last_error.c_str(); }

int fuseline_default_settings(fuseline_settings* settings) {
  return done([&] { *need(settings, "settings") = {}; });
}

fuseline_model* fuseline_open(const char* folder, const fuseline_settings* settings) {
  return attempt(nullptr, [&] {
    if (*need(folder, "folder") == '\0') throw embedded::Failure("folder is empty; \".\" is the current one");
    return new fuseline_model{{embedded::Files(folder), *need(settings, "settings")}};
  });
}

fuseline_model* fuseline_open_memory(const fuseline_file* files, size_t count, const fuseline_settings* settings) {
  return attempt(nullptr, [&] {
    need(settings, "settings");
    need(files, "files");
    for (size_t i = 0; i < count; ++i) need(files[i].data, need(files[i].name, "a file's name"));
    return new fuseline_model{{embedded::Files(files, count), *settings}};
  });
}

const char* fuseline_description(const fuseline_model* model) {
  return attempt(nullptr, [&] { return need(model, "model")->model.description().c_str(); });
}

void fuseline_close(fuseline_model* model) { delete model; }

int fuseline_no_input(fuseline_input* input) {
  return done([&] { *need(input, "input") = {}; });
}

int fuseline_default_options(const fuseline_model* model, fuseline_options* options) {
  return done([&] { *need(options, "options") = need(model, "model")->model.defaults(); });
}

fuseline_result* fuseline_generate(const fuseline_model* model, const fuseline_input* input, const fuseline_options* options) {
  return attempt(nullptr, [&] {
    const embedded::Model& opened = need(model, "model")->model;
    return new fuseline_result(embedded::generate(opened, *need(input, "input"), *need(options, "options")));
  });
}

fuseline_cancel* fuseline_new_cancel(void) {
  return attempt(nullptr, [] { return new fuseline_cancel; });
}

int fuseline_stop(fuseline_cancel* cancel) {
  return done([&] { need(cancel, "cancel")->stop(); });
}

void fuseline_free_cancel(fuseline_cancel* cancel) { delete cancel; }

size_t fuseline_result_count(const fuseline_result* result) { return result == nullptr ? 0 : result->scores.size(); }

int fuseline_result_finished(const fuseline_result* result) {
  return attempt(-1, [&] { return need(result, "result")->finished ? 1 : 0; });
}

const char* fuseline_result_text(const fuseline_result* result, size_t place) {
  return found<const char*>(result, place, nullptr, [&] {
    if (result->texts.empty()) throw embedded::Failure("this model's texts are not words one after the other; take the tokens");
    return result->texts[place].c_str();
  });
}

float fuseline_result_score(const fuseline_result* result, size_t place) {
  return found<float>(result, place, NAN, [&] { return result->scores[place]; });
}

const int64_t* fuseline_result_tokens(const fuseline_result* result, size_t place, size_t* count) {
  return found<const int64_t*>(result, place, nullptr, [&] {
    *need(count, "count") = result->length;
    return result->tokens.data() + place * result->length;
  });
}

void fuseline_free_result(fuseline_result* result) { delete result; }
