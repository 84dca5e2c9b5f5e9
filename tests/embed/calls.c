/* Calls fuseline.h as tests/embed/test_c_library.py asks: calls WHAT FOLDER [PHOTO.ppm [NUMBER [ID...]]]
 * or calls speech FOLDER SAMPLES [0 [LANGUAGE TASK]], a file of floats; "-" in the place of a file is none.
 * The kernels' library is that of the variable KERNELS, "" for none. Whatever is not as it must be ends it with status 1. */
#define _POSIX_C_SOURCE 200809L
#include <fuseline.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef _WIN32
#include <windows.h>
#include <shellapi.h>
#endif

#define CHECK(what) \
  if (!(what)) fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #what, fuseline_last_error()), exit(1)
#define REFUSED(call, sentence) CHECK((call) && strstr(fuseline_last_error(), sentence) != NULL)

enum { THREADS = 4, FILES = 5, IDS = 16 };

static fuseline_model* model;
static fuseline_input photo;
static fuseline_options options;

static void* read_file(const char* path, size_t* size) {
  FILE* const file = fopen(path, "rb");
  void* content;
  CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
  *size = (size_t)ftell(file);
  rewind(file);
  content = malloc(*size);
  CHECK(content != NULL && fread(content, 1, *size, file) == *size);
  fclose(file);
  return content;
}

/* The photo of a binary PPM, into `photo`. */
static void read_photo(const char* path) {
  size_t size = 0;
  int header = 0;
  char* const content = read_file(path, &size);
  CHECK(sscanf(content, "P6 %" SCNd64 " %" SCNd64 " 255%n", &photo.width, &photo.height, &header) == 2);
  photo.rgb = memcpy(malloc(size), content + header + 1, size - (size_t)header - 1);
  free(content);
}

/* The samples of a file of nothing else, into `photo`. */
static void read_samples(const char* path) {
  size_t size = 0;
  photo.samples = read_file(path, &size);
  photo.sample_count = (int64_t)(size / sizeof(float));
}

static fuseline_settings settings(void) {
  fuseline_settings made;
  CHECK(fuseline_default_settings(&made) == 0);
  made.kernels = getenv("KERNELS");
  made.threads = 1;
  return made;
}

static void print(fuseline_result* result) {
  CHECK(result != NULL);
  for (size_t i = 0; i < fuseline_result_count(result); ++i) {
    size_t count = 0;
    const int64_t* const tokens = fuseline_result_tokens(result, i, &count);
    printf("%.9g|", (double)fuseline_result_score(result, i));
    for (size_t t = 0; t < count; ++t) printf("%s%lld", t == 0 ? "" : " ", (long long)tokens[t]);
    printf("|%s\n", fuseline_result_text(result, i));
  }
  printf("finished %d\n", fuseline_result_finished(result));
  fuseline_free_result(result);
}

static int tell(const char* piece, const char* tentative, void* left) {
  printf("%s|%s\n", piece, tentative);
  return --*(int*)left == 0;
}

static void* call_often(void* first) {
  for (int i = 0; i < 3; ++i) {
    fuseline_result* const result = fuseline_generate(model, &photo, &options);
    CHECK(result != NULL && strcmp(fuseline_result_text(result, 0), first) == 0);
    fuseline_free_result(result);
  }
  CHECK(fuseline_generate(NULL, &photo, &options) == NULL);
  CHECK(strcmp(fuseline_last_error(), "model is NULL") == 0);
  return NULL;
}

static void several_at_once(void) {
  pthread_t threads[THREADS];
  fuseline_result* const result = fuseline_generate(model, &photo, &options);
  CHECK(result != NULL);
  for (int i = 0; i < THREADS; ++i)
    CHECK(pthread_create(&threads[i], NULL, call_often, (void*)fuseline_result_text(result, 0)) == 0);
  for (int i = 0; i < THREADS; ++i) pthread_join(threads[i], NULL);
  CHECK(strcmp(fuseline_last_error(), "") == 0);
  fuseline_free_result(result);
}

static void* stop_soon(void* cancel) {
  const struct timespec soon = {0, 2000000};
  nanosleep(&soon, NULL);
  CHECK(fuseline_stop(cancel) == 0);
  return NULL;
}

static void cancelled(void) {
  pthread_t thread;
  fuseline_result* result = NULL;
  options.cancel = fuseline_new_cancel();
  CHECK(options.cancel != NULL && pthread_create(&thread, NULL, stop_soon, options.cancel) == 0);
  for (int finished = 1; finished;) {
    result = fuseline_generate(model, &photo, &options);
    finished = fuseline_result_finished(result);
    CHECK(finished >= 0);
    fuseline_free_result(result);
  }
  pthread_join(thread, NULL);
  result = fuseline_generate(model, &photo, &options);
  CHECK(result != NULL && fuseline_result_count(result) == 0 && fuseline_result_finished(result) == 0);
  REFUSED(fuseline_result_text(result, 0) == NULL, "0 texts");
  fuseline_free_result(result);
  fuseline_free_cancel(options.cancel);
  options.cancel = NULL;
}

static void rows_apart(void) {
  const int64_t row = 3 * photo.width, stride = row + 7;
  fuseline_input apart = photo;
  uint8_t* const pixels = calloc((size_t)photo.height, (size_t)stride);
  for (int64_t y = 0; y < photo.height; ++y) memcpy(pixels + y * stride, photo.rgb + y * row, (size_t)row);
  apart.rgb = pixels;
  apart.stride = stride;
  print(fuseline_generate(model, &apart, &options));
  free(pixels);
}

/* The files of a folder that the library reads, as far as they are there; how many. */
static size_t read_files(const char* folder, fuseline_file* files) {
  static const char* const kNames[FILES] = {"fuseline-embed.json", "fuseline-embed.bin", "start.onnx", "step.onnx", "weights.bin"};
  size_t count = 0;
  char path[4096];
  for (int i = 0; i < FILES; ++i) {
    FILE* file;
    snprintf(path, sizeof path, "%s/%s", folder, kNames[i]);
    file = fopen(path, "rb");
    if (file == NULL) continue;
    fclose(file);
    files[count].name = kNames[i];
    files[count].data = read_file(path, &files[count].size);
    ++count;
  }
  return count;
}

static void free_files(fuseline_file* files, size_t count) {
  for (size_t i = 0; i < count; ++i) free((void*)files[i].data);
}

static void from_memory(const char* folder) {
  fuseline_file files[FILES];
  fuseline_settings how = settings();
  CHECK(read_files(folder, files) == FILES);
  REFUSED(fuseline_open_memory(files, 3, &how) == NULL, "step.onnx is not among the files in memory");
  files[2].size -= 1;
  REFUSED(fuseline_open_memory(files, FILES, &how) == NULL, "bytes instead of");
  files[2].size += 1;
  how.check_weights = 1;
  ((uint8_t*)files[4].data)[9] ^= 1;
  REFUSED(fuseline_open_memory(files, FILES, &how) == NULL, "weights.bin is damaged: its crc32");
  ((uint8_t*)files[4].data)[9] ^= 1;
  model = fuseline_open_memory(files, FILES, &how);
  CHECK(model != NULL && fuseline_default_options(model, &options) == 0);
  print(fuseline_generate(model, &photo, &options));
  fuseline_close(model);
  free_files(files, FILES);
}

/* What is said of a model whose files are those of the folder but for those of a case: a line for each case. */
static void damaged(const char* folder, const char* cases, int count) {
  fuseline_file files[FILES], others[FILES];
  const size_t size = read_files(folder, files);
  const fuseline_settings how = settings();
  char path[4096];
  for (int each = 0; each < count; ++each) {
    fuseline_file mixed[FILES];
    fuseline_result* result = NULL;
    size_t different;
    snprintf(path, sizeof path, "%s/%d", cases, each);
    different = read_files(path, others);
    memcpy(mixed, files, sizeof mixed);
    for (size_t i = 0; i < different; ++i)
      for (size_t j = 0; j < size; ++j)
        if (strcmp(others[i].name, mixed[j].name) == 0) mixed[j] = others[i];
    model = fuseline_open_memory(mixed, size, &how);
    if (model != NULL) {
      CHECK(fuseline_default_options(model, &options) == 0);
      options.num_beams = 2, options.max_length = 5; /* as many as a damaged description has would take for ever */
      result = fuseline_generate(model, &photo, &options);
    }
    printf("%s\n", result == NULL ? fuseline_last_error() : "answered");
    fuseline_free_result(result);
    fuseline_close(model);
    free_files(others, different);
  }
  free_files(files, size);
}

static void nulls(const char* folder) {
  size_t count = 0;
  fuseline_settings how = settings();
  fuseline_file file = {NULL, "x", 1};
  fuseline_result* const result = fuseline_generate(model, &photo, &options);
  REFUSED(fuseline_default_settings(NULL) == -1, "settings is NULL");
  REFUSED(fuseline_open(NULL, &how) == NULL, "folder is NULL");
  REFUSED(fuseline_open(folder, NULL) == NULL, "settings is NULL");
  how.threads = -1;
  REFUSED(fuseline_open(folder, &how) == NULL, "threads must be from 0 to 1024");
  how.threads = INT32_MAX;
  REFUSED(fuseline_open(folder, &how) == NULL, "threads must be from 0 to 1024");
  REFUSED(fuseline_open_memory(NULL, 1, &how) == NULL, "files is NULL");
  REFUSED(fuseline_open_memory(&file, 1, NULL) == NULL, "settings is NULL");
  REFUSED(fuseline_open_memory(&file, 1, &how) == NULL, "name is NULL");
  REFUSED(fuseline_description(NULL) == NULL, "model is NULL");
  REFUSED(fuseline_no_input(NULL) == -1, "input is NULL");
  REFUSED(fuseline_default_options(NULL, &options) == -1, "model is NULL");
  REFUSED(fuseline_default_options(model, NULL) == -1, "options is NULL");
  REFUSED(fuseline_generate(NULL, &photo, &options) == NULL, "model is NULL");
  REFUSED(fuseline_generate(model, NULL, &options) == NULL, "input is NULL");
  REFUSED(fuseline_generate(model, &photo, NULL) == NULL, "options is NULL");
  REFUSED(fuseline_stop(NULL) == -1, "cancel is NULL");
  CHECK(fuseline_result_count(NULL) == 0);
  REFUSED(fuseline_result_finished(NULL) == -1, "result is NULL");
  REFUSED(fuseline_result_text(NULL, 0) == NULL, "result is NULL");
  REFUSED(isnan(fuseline_result_score(NULL, 0)), "result is NULL");
  REFUSED(isnan(fuseline_result_score(result, 9)), "1 texts");
  REFUSED(fuseline_result_tokens(NULL, 0, &count) == NULL, "result is NULL");
  REFUSED(fuseline_result_tokens(result, 0, NULL) == NULL, "count is NULL");
  fuseline_close(NULL);
  fuseline_free_cancel(NULL);
  fuseline_free_result(NULL);
  fuseline_free_result(result);
}

static void refused(const char* sentence) { REFUSED(fuseline_generate(model, &photo, &options) == NULL, sentence); }

static void bad_calls(void) {
  static const int64_t kToken = 1, kUnknown = 1 << 30;
  static const float kSample = 0;
  const fuseline_input good = photo;
  const fuseline_options own = options;
  options.num_beams = 0, refused("num_beams must be at least 1"), options = own;
  options.max_length = 1000, refused("max_length must be"), options = own;
  options.num_return_sequences = 5, refused("num_return_sequences must be"), options = own;
  options.decoder_input_ids = &kToken, options.decoder_input_id_count = -1, refused("must be from 0 to 2147483647"), options = own;
  photo.ids = &kUnknown, photo.id_count = 1, refused("must be from 0 to"), photo = good;
  photo.rgb = NULL, refused("this model reads image"), photo = good;
  photo.width = 0, refused("width and height"), photo = good;
  photo.height = INT64_MAX, refused("width and height"), photo = good;
  photo.samples = &kSample, photo.sample_count = 1, refused("this model reads no speech"), photo = good;
  photo.stride = 5, refused("stride must be"), photo = good;
  options.language = "en", refused("does not know several languages"), options = own;
  photo.width = photo.height = 1;
  {
    fuseline_result* const of_a_pixel = fuseline_generate(model, &photo, &options);
    CHECK(fuseline_result_finished(of_a_pixel) == 1);
    fuseline_free_result(of_a_pixel);
  }
  photo = good;
}

static void speech(const char* language, const char* task) {
  const fuseline_input good = photo;
  const fuseline_options own = options;
  options.language = "xx", refused("language must be one of the languages that"), options = own;
  options.task = "auto", refused("task must be one of the tasks that"), options = own;
  options.language = language;
  options.task = task;
  print(fuseline_generate(model, &photo, &options));
  options = own;
  photo.samples = NULL, refused("this model reads samples, and samples is NULL"), photo = good;
  photo.sample_count = 0, refused("not empty"), photo = good;
  photo.sample_count = -1, refused("must be from 0 to 2147483647"), photo = good;
  photo.ids = &good.sample_count, photo.id_count = 1, refused("this model reads no text"), photo = good;
}

/* What is said of a call, in a line behind the name of the field that is absurd in it. */
static void told(const char* name) {
  fuseline_result* const result = fuseline_generate(model, &photo, &options);
  printf("%s|%s\n", name, result == NULL ? fuseline_last_error() : "answered");
  fuseline_free_result(result);
}

/* Values that nobody means, in every field that is a number. A count that is refused is refused before anything is read. */
static void absurd(void) {
  static const int64_t kWholes[] = {INT64_MIN, -2, 0, (int64_t)1 << 32, INT64_MAX}, kCounts[] = {INT64_MIN, -1, (int64_t)1 << 31, INT64_MAX};
  static const int64_t kIds[] = {1, 1, 1};
  static const float kFloats[] = {NAN, INFINITY, -INFINITY, 0, -1, 3.4e38F, -3.4e38F}, kWeights[] = {1, 1, 1};
  const fuseline_options own = options;
  const fuseline_input good = photo;
  struct {
    const char* name;
    int64_t* field;
  } wholes[] = {{"num_beams", &options.num_beams},
                {"max_length", &options.max_length},
                {"min_length", &options.min_length},
                {"early_stopping", &options.early_stopping},
                {"no_repeat_ngram_size", &options.no_repeat_ngram_size},
                {"num_return_sequences", &options.num_return_sequences},
                {"forced_bos_token_id", &options.forced_bos_token_id},
                {"forced_eos_token_id", &options.forced_eos_token_id},
                {"width", &photo.width},
                {"height", &photo.height},
                {"stride", &photo.stride}},
    counts[] = {{"decoder_input_ids", &options.decoder_input_id_count},
                {"eos_token_id", &options.eos_token_id_count},
                {"ids", &photo.id_count},
                {"samples", &photo.sample_count},
                {"source_weights", &photo.source_weight_count}};
  for (size_t i = 0; i < sizeof wholes / sizeof *wholes; ++i)
    for (size_t j = 0; j < sizeof kWholes / sizeof *kWholes; ++j)
      *wholes[i].field = kWholes[j], told(wholes[i].name), options = own, photo = good;
  for (size_t j = 0; j < sizeof kFloats / sizeof *kFloats; ++j) {
    options.length_penalty = kFloats[j], told("length_penalty"), options = own;
    options.repetition_penalty = kFloats[j], told("repetition_penalty"), options = own;
  }
  for (size_t i = 0; i < sizeof counts / sizeof *counts; ++i)
    for (size_t j = 0; j < sizeof kCounts / sizeof *kCounts; ++j) {
      if (counts[i].field == &options.decoder_input_id_count) options.decoder_input_ids = kIds;
      if (counts[i].field == &options.eos_token_id_count) options.eos_token_ids = kIds;
      if (counts[i].field == &photo.id_count) photo.ids = kIds;
      if (counts[i].field == &photo.sample_count) photo.samples = kWeights;
      if (counts[i].field == &photo.source_weight_count) photo.source_weights = kWeights;
      *counts[i].field = kCounts[j], told(counts[i].name), options = own, photo = good;
    }
  for (int64_t count = 0; count <= 3; ++count)
    photo.source_weights = kWeights, photo.source_weight_count = count, told("source_weights"), photo = good;
}

/* The arguments in UTF-8, as fuseline.h reads paths; Windows has them so only in wide characters. */
static char** in_utf8(int count, char** arguments) {
#ifdef _WIN32
  wchar_t** const wide = CommandLineToArgvW(GetCommandLineW(), &count);
  for (int i = 0; i < count; ++i) {
    const int size = WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, NULL, 0, NULL, NULL);
    arguments[i] = malloc((size_t)size);
    WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, arguments[i], size, NULL, NULL);
  }
#endif
  (void)count;
  return arguments;
}

int main(int count, char** given) {
  char** const arguments = in_utf8(count, given);
  const char* const what = arguments[1];
  const fuseline_settings how = settings();
  int left = count > 4 ? atoi(arguments[4]) : 0;
  int64_t ids[IDS];
  fuseline_no_input(&photo);
  if (strcmp(what, "open") == 0) {
    model = fuseline_open(arguments[2], &how);
    printf("%s\n", model == NULL ? fuseline_last_error() : "opened");
    fuseline_close(model);
    return 0;
  }
  if (strstr(arguments[3], ".ppm") != NULL)
    read_photo(arguments[3]);
  else if (strcmp(arguments[3], "-") != 0)
    read_samples(arguments[3]);
  for (int i = 5; i < count && strcmp(what, "damaged") != 0 && strcmp(what, "speech") != 0; ++i) ids[photo.id_count++] = atoll(arguments[i]);
  if (photo.id_count > 0) photo.ids = ids;
  if (strcmp(what, "memory") == 0) {
    from_memory(arguments[2]);
  } else if (strcmp(what, "damaged") == 0) {
    damaged(arguments[2], arguments[5], left);
  } else {
    model = fuseline_open(arguments[2], &how);
    CHECK(model != NULL && fuseline_default_options(model, &options) == 0);
    CHECK(strstr(fuseline_description(model), "\"variant\"") != NULL);
    if (strcmp(what, "best") == 0) options.num_return_sequences = left;
    if (strcmp(what, "stream") == 0) options.on_text = tell, options.user_data = &left;
    if (strcmp(what, "threads") == 0) several_at_once();
    if (strcmp(what, "cancel") == 0) cancelled();
    if (strcmp(what, "nulls") == 0) nulls(arguments[2]);
    if (strcmp(what, "bad") == 0) bad_calls();
    if (strcmp(what, "absurd") == 0) absurd();
    if (strcmp(what, "speech") == 0) speech(count > 5 ? arguments[5] : NULL, count > 6 ? arguments[6] : NULL);
    if (strcmp(what, "apart") == 0) rows_apart();
    if (strcmp(what, "best") == 0 || strcmp(what, "stream") == 0) print(fuseline_generate(model, &photo, &options));
    fuseline_close(model);
  }
  free((void*)photo.rgb);
  free((void*)photo.samples);
  return 0;
}
