/* Says what is said in a sound, word by word: transcribe FOLDER SPEECH.wav [LANGUAGE]
 *
 * FOLDER is what `fuseline export --embed` has written of a Whisper model; the sound has 16,000 samples a second of 16 bits and
 * one channel, as `ffmpeg -i talk.mp3 -ar 16000 -ac 1 -c:a pcm_s16le speech.wav` writes it. A model reads at most 30 s at once,
 * so what is longer is cut where it is quietest. */
#include <fuseline.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RATE = 16000, WINDOW = 30 * RATE, SEARCHED = 5 * RATE, PAUSE = RATE / 10 };

static const char* const kFormat = "is no WAV of 16,000 samples a second, 16 bits and one channel: "
                                   "`ffmpeg -i talk.mp3 -ar 16000 -ac 1 -c:a pcm_s16le speech.wav` makes one";

static unsigned long number(const unsigned char* bytes, int count) {
  return count == 0 ? 0 : bytes[0] | number(bytes + 1, count - 1) << 8;
}

/* The samples of a WAV, to be freed; NULL, with *reason, for a file that is none. */
static float* read_wav(FILE* file, int64_t* count, const char** reason) {
  unsigned char head[16], two[2];
  float* samples = NULL;
  int known = 0;
  *reason = kFormat;
  *count = 0;
  if (fread(head, 1, 12, file) != 12 || memcmp(head, "RIFF", 4) != 0 || memcmp(head + 8, "WAVE", 4) != 0) return NULL;
  while (fread(head, 1, 8, file) == 8 && memcmp(head, "data", 4) != 0) {
    unsigned long left = number(head + 4, 4);
    left += left & 1;
    if (memcmp(head, "fmt ", 4) == 0 && left >= 16) {
      if (fread(head, 1, 16, file) != 16) return NULL;
      known = number(head, 2) == 1 && number(head + 2, 2) == 1 && number(head + 4, 4) == RATE && number(head + 14, 2) == 16;
      left -= 16;
    }
    for (; left > 0; --left)
      if (fgetc(file) == EOF) return NULL;
  }
  if (!known) return NULL;
  for (int64_t room = 0; fread(two, 1, 2, file) == 2; ++*count) {
    if (*count == room) {
      float* const more = realloc(samples, (size_t)(room = 2 * room + RATE) * sizeof *samples);
      if (more == NULL) break;
      samples = more;
    }
    samples[*count] = (float)(int16_t)number(two, 2) / 32768;
  }
  if (samples == NULL) *reason = "has no samples";
  return samples;
}

/* How many samples to read next: all, or up to the quietest tenth of a second of the window's last five. */
static int64_t next_window(const float* samples, int64_t left) {
  int64_t best = WINDOW;
  float least = -1;
  if (left <= WINDOW) return left;
  for (int64_t at = WINDOW - SEARCHED; at + PAUSE <= WINDOW; at += PAUSE) {
    float loud = 0;
    for (int64_t i = at; i < at + PAUSE; ++i) loud += samples[i] * samples[i];
    if (least >= 0 && loud > least) continue;
    least = loud;
    best = at + PAUSE / 2;
  }
  return best;
}

static int say(const char* piece, const char* tentative, void* user_data) {
  (void)tentative;
  (void)user_data;
  fputs(piece, stdout);
  fflush(stdout);
  return 0; /* go on */
}

static int fail(const char* what, const char* sentence) {
  fprintf(stderr, "transcribe: %s%s%s\n", what, *what == '\0' ? "" : " ", sentence);
  return 1;
}

static int transcribe(const fuseline_model* model, const float* samples, int64_t count, const char* language) {
  fuseline_options options;
  fuseline_input speech;
  fuseline_no_input(&speech);
  if (fuseline_default_options(model, &options) != 0) return fail("", fuseline_last_error());
  options.on_text = say;
  options.language = language; /* NULL: the model's own, or the one that is heard */
  for (; count > 0; samples += speech.sample_count, count -= speech.sample_count) {
    fuseline_result* result;
    speech.samples = samples;
    speech.sample_count = next_window(samples, count);
    result = fuseline_generate(model, &speech, &options);
    if (result == NULL) return fail("", fuseline_last_error());
    fuseline_free_result(result);
  }
  printf("\n");
  return 0;
}

int main(int count, char** arguments) {
  fuseline_settings settings;
  fuseline_model* model;
  const char* reason = NULL;
  float* samples;
  int64_t sample_count = 0;
  int status;
  FILE* file;
  if (count < 3) return fail("", "give a FOLDER, which `fuseline export --embed` writes, and a SPEECH.wav");
  if ((file = fopen(arguments[2], "rb")) == NULL) return fail(arguments[2], "cannot be opened");
  samples = read_wav(file, &sample_count, &reason);
  fclose(file);
  if (samples == NULL) return fail(arguments[2], reason);
  fuseline_default_settings(&settings);
  model = fuseline_open(arguments[1], &settings);
  status = model == NULL ? fail("", fuseline_last_error()) : transcribe(model, samples, sample_count, count > 3 ? arguments[3] : NULL);
  fuseline_close(model);
  free(samples);
  return status;
}
