// Windows cuts short no file that is mapped (ERROR_USER_MAPPED_FILE), so that a guard has nothing to do there.
#include <stddef.h>

#include "fuseline_kernels.h"
#include "memory.h"

struct fuseline_guard {};

fuseline_status fuseline_guard_begin(const fuseline_range* ranges, int64_t count, fuseline_guard** guard) {
  if (guard == nullptr || count < 1 || ranges == nullptr) return FUSELINE_BAD_ARGUMENT;
  *guard = nullptr;
  for (int64_t i = 0; i < count; ++i)
    if (ranges[i].begin >= ranges[i].end) return FUSELINE_BAD_ARGUMENT;
  *guard = fuseline::own<fuseline_guard>().release();
  return *guard != nullptr ? FUSELINE_OK : FUSELINE_NO_MEMORY;
}

int32_t fuseline_guard_broken(const fuseline_guard*) { return 0; }

void fuseline_guard_end(fuseline_guard* guard) { const fuseline::Owned<fuseline_guard> ended(guard); }
