/* Says what is on a photo, word by word: caption FOLDER PHOTO.ppm [BEAMS]
 *
 * FOLDER is what `fuseline export --embed` has written; the photo is a binary PPM, as `convert photo.jpg photo.ppm` and
 * `djpeg photo.jpg` write it, upright. */
#include <fuseline.h>
#include <stdio.h>
#include <stdlib.h>

/* A photo's pixels, to be freed; NULL for a file that is no PPM of 8 bits. */
static uint8_t* read_ppm(const char* path, int64_t* width, int64_t* height) {
  unsigned long columns = 0, rows = 0, largest = 0;
  uint8_t* pixels = NULL;
  FILE* file = fopen(path, "rb");
  if (file == NULL) return NULL;
  if (fscanf(file, "P6 %lu %lu %lu", &columns, &rows, &largest) == 3 && largest == 255 && fgetc(file) != EOF && columns - 1 < 65536 && rows - 1 < 65536) {
    const size_t size = 3 * (size_t)columns * rows;
    pixels = malloc(size);
    if (pixels != NULL && fread(pixels, 1, size, file) != size) {
      free(pixels);
      pixels = NULL;
    }
  }
  fclose(file);
  *width = (int64_t)columns;
  *height = (int64_t)rows;
  return pixels;
}

static int say(const char* piece, const char* tentative, void* user_data) {
  (void)tentative;
  (void)user_data;
  fputs(piece, stdout);
  fflush(stdout);
  return 0; /* go on */
}

static int fail(const char* sentence) {
  fprintf(stderr, "caption: %s\n", sentence);
  return 1;
}

static int caption(const fuseline_model* model, const fuseline_input* photo, const char* beams) {
  fuseline_options options;
  fuseline_result* result;
  if (fuseline_default_options(model, &options) != 0) return fail(fuseline_last_error());
  options.on_text = say;
  if (beams != NULL) options.num_beams = strtol(beams, NULL, 10);
  result = fuseline_generate(model, photo, &options);
  if (result == NULL) return fail(fuseline_last_error());
  printf("\n");
  fuseline_free_result(result);
  return 0;
}

int main(int count, char** arguments) {
  fuseline_settings settings;
  fuseline_input photo;
  fuseline_model* model;
  int status;
  if (count < 3) return fail("give a FOLDER and a PHOTO.ppm");
  fuseline_no_input(&photo);
  photo.rgb = read_ppm(arguments[2], &photo.width, &photo.height);
  if (photo.rgb == NULL) return fail("the photo must be a PPM file of 8 bits (P6)");
  fuseline_default_settings(&settings);
  model = fuseline_open(arguments[1], &settings);
  status = model == NULL ? fail(fuseline_last_error()) : caption(model, &photo, count > 3 ? arguments[3] : NULL);
  fuseline_close(model);
  free((void*)photo.rgb);
  return status;
}
