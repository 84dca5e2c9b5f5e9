/* A model that `fuseline export --embed` has written, run from C: a photo, a text or speech goes in, the best texts come
 * out.
 *
 * No Python and no link to onnxruntime: any onnxruntime from 1.20 on is loaded when a model is opened. The search
 * is in the files: the library runs start.onnx once and step.onnx until it says that all is finished.
 *
 *   fuseline_settings settings;
 *   fuseline_options options;
 *   fuseline_input photo;
 *   fuseline_default_settings(&settings);
 *   fuseline_model* model = fuseline_open("captioner", &settings);
 *   if (model == NULL) return fail(fuseline_last_error());
 *   fuseline_default_options(model, &options);
 *   fuseline_no_input(&photo);
 *   photo.rgb = pixels, photo.width = 640, photo.height = 480;
 *   fuseline_result* result = fuseline_generate(model, &photo, &options);
 *   if (result != NULL) puts(fuseline_result_text(result, 0));
 *   fuseline_free_result(result);
 *   fuseline_close(model);
 *
 * Whatever fails returns NULL (or -1), changes nothing, and leaves a sentence in fuseline_last_error. NULL is refused
 * everywhere but in the fields that say what it means there. Texts are UTF-8, paths too.
 * An open model may be used by any number of threads at once; only fuseline_close must be the last call with it. */
#ifndef FUSELINE_H
#define FUSELINE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(FUSELINE_BUILDING)
#define FUSELINE_API __declspec(dllexport)
#elif defined(_WIN32)
#define FUSELINE_API __declspec(dllimport)
#else
#define FUSELINE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fuseline_model fuseline_model;
typedef struct fuseline_result fuseline_result;
typedef struct fuseline_cancel fuseline_cancel;

/* The version of the library, such as "0.1.0". */
FUSELINE_API const char* fuseline_version(void);

/* What the last call of this thread that failed has to say: one sentence, "" before any has failed. Good until the thread's
 * next call that fails. */
FUSELINE_API const char* fuseline_last_error(void);

/* --- opening ------------------------------------------------------------------------------------------------------ */

typedef struct fuseline_settings {
  /* The shared library of onnxruntime. NULL: the one that the environment variable FUSELINE_ONNXRUNTIME names, else the one
   * that is in the process already, else the system's. */
  const char* onnxruntime;
  /* The shared library of fuseline's kernels. NULL: those that are linked into this library, if they are; "": none, so that
   * the operators' definitions run, which any onnxruntime computes, slower. */
  const char* kernels;
  int32_t threads; /* that compute a call, at most 1024; 0: as many as onnxruntime finds right, one for each physical core */
  /* Not 0: weights.bin is read and held to its checksum when the model is opened, which takes a second for some 300 MB; else
   * only its size is looked at. All other files are always held to theirs. */
  int32_t check_weights;
} fuseline_settings;

FUSELINE_API int fuseline_default_settings(fuseline_settings* settings); /* 0, -1 for NULL */

/* Opens the model in a folder. */
FUSELINE_API fuseline_model* fuseline_open(const char* folder, const fuseline_settings* settings);

typedef struct fuseline_file {
  const char* name; /* as in the folder, such as "step.onnx" */
  const void* data;
  size_t size;
} fuseline_file;

/* Opens a model whose files are in memory: fuseline-embed.json, fuseline-embed.bin, start.onnx, step.onnx and weights.bin. The
 * memory must stay as it is until the model is closed. */
FUSELINE_API fuseline_model* fuseline_open_memory(const fuseline_file* files, size_t count, const fuseline_settings* settings);

/* The content of fuseline-embed.json: the inputs, the options and what they may be, the licence. Good until the model is
 * closed. */
FUSELINE_API const char* fuseline_description(const fuseline_model* model);

FUSELINE_API void fuseline_close(fuseline_model* model);

/* --- a call ------------------------------------------------------------------------------------------------------- */

/* What the model is to read. Nothing is kept of it, and nothing copied that lies as onnxruntime reads it. */
typedef struct fuseline_input {
  const uint8_t* rgb; /* a photo, turned upright, red, green and blue of a pixel side by side; NULL: none */
  int64_t width, height;
  int64_t stride;     /* bytes from the beginning of a row to that of the next; 0: 3 * width */
  const int64_t* ids; /* the tokens of a text that is read, or stands beside the photo; NULL: none */
  int64_t id_count;
  const float* source_weights; /* of models that read several: how much each counts; NULL: the model's own */
  int64_t source_weight_count;
  const float* samples; /* speech: 16,000 a second, one channel, from -1 to 1; NULL: none */
  int64_t sample_count;
} fuseline_input;

FUSELINE_API int fuseline_no_input(fuseline_input* input); /* all of it 0 and NULL */

/* Called by fuseline_generate, in its thread, whenever there is something new. piece: text that has become certain since the
 * last call and is never taken back. tentative: what follows in the best sequence so far, and may be replaced. Both are good
 * during the call only. Whatever is not 0 stops.
 * Of a search that came to its end all pieces joined are the first text of the result. Of one that was stopped they are where
 * that text begins, and with the last call's tentative behind them they are all of it.
 * A word is certain when no beam may say otherwise, and the next has begun: with 4 beams piece may stay "" until the last
 * call, which has the whole text; with num_beams 1 every word comes as soon as the next begins. */
typedef int (*fuseline_on_text)(const char* piece, const char* tentative, void* user_data);

/* The options of transformers' generate, by their names there. Of a pointer that is NULL the model's own values are taken. */
typedef struct fuseline_options {
  int64_t num_beams;
  int64_t max_length; /* tokens, those of the prompt included */
  int64_t min_length;
  int64_t early_stopping; /* 0: False, 1: True, 2: "never" */
  int64_t no_repeat_ngram_size;
  int64_t num_return_sequences; /* as many texts as the result has, at most num_beams */
  int64_t forced_bos_token_id;  /* -1: none; says a translator's language */
  int64_t forced_eos_token_id;  /* -1: none */
  float length_penalty;
  float repetition_penalty;
  const int64_t* decoder_input_ids; /* the prompt; the start token is put before it where it lacks it */
  int64_t decoder_input_id_count;
  const int64_t* eos_token_ids;
  int64_t eos_token_id_count;
  const char* language; /* of a Whisper of several: such as "en", as fuseline-embed.json lists them; "auto": the one heard */
  const char* task;     /* "transcribe" or "translate", of the same models; both are for calls without a prompt */
  fuseline_on_text on_text; /* NULL: nobody is told */
  void* user_data;          /* handed to on_text */
  fuseline_cancel* cancel;  /* NULL: nobody stops the call */
} fuseline_options;

/* The model's own options, and neither on_text nor cancel. 0, or -1. */
FUSELINE_API int fuseline_default_options(const fuseline_model* model, fuseline_options* options);

FUSELINE_API fuseline_result* fuseline_generate(const fuseline_model* model, const fuseline_input* input,
                                                const fuseline_options* options);

/* Stops calls from another thread: those that were given it end at once, and so do later ones. It must be there until they
 * have returned. */
FUSELINE_API fuseline_cancel* fuseline_new_cancel(void);
FUSELINE_API int fuseline_stop(fuseline_cancel* cancel); /* 0, -1 for NULL */
FUSELINE_API void fuseline_free_cancel(fuseline_cancel* cancel);

/* --- what comes out ----------------------------------------------------------------------------------------------- */

/* How many texts there are, best first: num_return_sequences; 0 of a call that was stopped before its first token, and of
 * NULL. */
FUSELINE_API size_t fuseline_result_count(const fuseline_result* result);
/* 1 if the search came to its end; 0 if it was stopped, so that the texts are the best so far; -1 for NULL. */
FUSELINE_API int fuseline_result_finished(const fuseline_result* result);
/* A text, as its tokens have it: one of Whisper begins with a space. NULL for a place that is not there, and where the model's
 * tokenizer does not write texts word by word. */
FUSELINE_API const char* fuseline_result_text(const fuseline_result* result, size_t place);
/* The score, as transformers' sequences_scores; not a number for a place that is not there. */
FUSELINE_API float fuseline_result_score(const fuseline_result* result, size_t place);
/* The tokens, prompt included, filled up to the longest of the result; count: how many. NULL for a place that is not
 * there. */
FUSELINE_API const int64_t* fuseline_result_tokens(const fuseline_result* result, size_t place, size_t* count);
/* What was returned is good until here. */
FUSELINE_API void fuseline_free_result(fuseline_result* result);

#ifdef __cplusplus
}
#endif

#endif
