/* Says what is on a photo, word by word: caption FOLDER PHOTO.ppm [BEAMS]
 *
 * FOLDER is what `fuseline export --embed` has written; the photo is a binary PPM, as `convert photo.jpg photo.ppm` and
 * `djpeg photo.jpg` write it, upright. */
#include <ctype.h>
#include <errno.h>
#include <fuseline.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_EDGE 65536

/* A number of a PPM's header, behind spaces and comments; -1 where there is none, or one beyond the largest photo's. */
static long read_number(FILE* file) {
  long number = -1;
  int sign = fgetc(file);
  while (isspace(sign) || sign == '#') {
    if (sign == '#')
      while (sign != '\n' && sign != EOF) sign = fgetc(file);
    sign = fgetc(file);
  }
  for (; isdigit(sign) && number <= LARGEST_EDGE; sign = fgetc(file)) number = 10 * (number < 0 ? 0 : number) + (sign - '0');
  return isspace(sign) && number <= LARGEST_EDGE ? number : -1;
}

/* The pixels of a photo, to be freed; NULL, with *reason, for a file that is no PPM of 8 bits. */
static uint8_t* read_ppm(FILE* file, int64_t* width, int64_t* height, const char** reason) {
  uint8_t* pixels;
  size_t size;
  *reason = "is no PPM of 8 bits (P6): `convert photo.jpg photo.ppm` makes one";
  if (fgetc(file) != 'P' || fgetc(file) != '6') return NULL;
  *width = read_number(file);
  *height = read_number(file);
  if (*width < 1 || *height < 1 || read_number(file) != 255) return NULL;
  *reason = "ends before its last pixel";
  size = 3 * (size_t)*width * (size_t)*height;
  pixels = malloc(size);
  if (pixels != NULL && fread(pixels, 1, size, file) == size) return pixels;
  if (pixels == NULL) *reason = "is too large for this machine's memory";
  free(pixels);
  return NULL;
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

static int fail_with(const char* path, const char* reason) {
  fprintf(stderr, "caption: %s %s\n", path, reason);
  return 1;
}

/* Reads the photo at a path; 0, or 1 after it has said what is wrong. */
static int read_photo(const char* path, fuseline_input* photo) {
  const char* reason = NULL;
  FILE* const file = fopen(path, "rb");
  if (file == NULL) return fail_with(path, errno == ENOENT ? "is not there" : strerror(errno));
  photo->rgb = read_ppm(file, &photo->width, &photo->height, &reason);
  fclose(file);
  return photo->rgb == NULL ? fail_with(path, reason) : 0;
}

static int caption(const fuseline_model* model, const fuseline_input* photo, const char* beams) {
  fuseline_options options;
  fuseline_result* result;
  if (fuseline_default_options(model, &options) != 0) return fail(fuseline_last_error());
  options.on_text = say;
  if (beams != NULL) options.num_beams = strtol(beams, NULL, 10); /* of no number 0, which is refused */
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
  if (count < 3) return fail("give a FOLDER, which `fuseline export --embed` writes, and a PHOTO.ppm");
  fuseline_no_input(&photo);
  if (read_photo(arguments[2], &photo) != 0) return 1;
  fuseline_default_settings(&settings);
  model = fuseline_open(arguments[1], &settings);
  status = model == NULL ? fail(fuseline_last_error()) : caption(model, &photo, count > 3 ? arguments[3] : NULL);
  fuseline_close(model);
  free((void*)photo.rgb);
  return status;
}
