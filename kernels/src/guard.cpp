// Files that are cut short while their mappings are read: the read of a page that is gone ends a process by SIGBUS. Where such
// a page lies in a range that is guarded, it is read as zeros instead, and the guard knows.
//
// The handler reads a list that is changed under a lock it never takes. Whoever takes a guard out of the list waits until no
// handler runs that may have seen it, so a range that is released is never touched again.
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>

#include "fuseline_kernels.h"
#include "memory.h"

struct fuseline_guard {
  std::atomic<fuseline_guard*> next{nullptr};
  std::atomic<bool> broken{false};
  fuseline::Array<fuseline_range> ranges;
};

namespace fuseline {
namespace {

static_assert(std::atomic<fuseline_guard*>::is_always_lock_free && std::atomic<bool>::is_always_lock_free &&
                  std::atomic<int64_t>::is_always_lock_free,
              "a signal handler takes no locks");

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;  // of all that follows but what is atomic
std::atomic<fuseline_guard*> guards{nullptr};
std::atomic<int64_t> handlers{0};  // that run now
struct sigaction before;           // what there was for SIGBUS, written before the handler is put in place
uintptr_t page = 0;
bool installed = false;

class Locked {
 public:
  Locked() { pthread_mutex_lock(&mutex); }
  ~Locked() { pthread_mutex_unlock(&mutex); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;
};

// Whether the page of this address lies in a guarded range and is zeros now. More than one guard may have the range.
bool mend(uintptr_t address) {
  const uintptr_t start = address / page * page;
  bool mended = false;
  for (fuseline_guard* guard = guards.load(); guard != nullptr; guard = guard->next.load())
    for (size_t i = 0; i < guard->ranges.size(); ++i) {
      const fuseline_range& range = guard->ranges[i];
      if (address < range.begin || address >= range.end) continue;
      guard->broken.store(true);
      if (!mended) {
        const int access = range.writable != 0 ? PROT_READ | PROT_WRITE : PROT_READ;
        void* const zeros = mmap(reinterpret_cast<void*>(start), page, access, MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
        mended = zeros != MAP_FAILED;
      }
      break;
    }
  return mended;
}

// What would have happened without a guard.
void pass_on(int signal, siginfo_t* info, void* context) {
  if ((before.sa_flags & SA_SIGINFO) != 0) return before.sa_sigaction(signal, info, context);
  const bool sent = info->si_code <= 0;  // by a process, and not for a fault that comes again
  if (before.sa_handler == SIG_IGN && sent) return;
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(signal);
  struct sigaction none {};
  none.sa_handler = SIG_DFL;
  sigaction(SIGBUS, &none, nullptr);
  if (sent) raise(signal);
}

// Calls only what a signal handler may; mmap is a system call and nothing else.
void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  handlers.fetch_add(1);
  const bool mended = info->si_code == BUS_ADRERR && mend(reinterpret_cast<uintptr_t>(info->si_addr));
  handlers.fetch_sub(1);
  errno = error;
  if (!mended) pass_on(signal, info, context);
}

// Once; under the lock.
bool install() {
  if (installed) return true;
  const long size = sysconf(_SC_PAGESIZE);
  if (size <= 0 || sigaction(SIGBUS, nullptr, &before) != 0) return false;
  page = static_cast<uintptr_t>(size);
  // In a child only the thread that forked goes on, so no handler runs there and nobody holds the lock.
  pthread_atfork([] { pthread_mutex_lock(&mutex); }, [] { pthread_mutex_unlock(&mutex); },
                 [] {
                   handlers.store(0);
                   pthread_mutex_unlock(&mutex);
                 });
  struct sigaction ours {};
  ours.sa_sigaction = on_bus_error;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&ours.sa_mask);
  installed = sigaction(SIGBUS, &ours, nullptr) == 0;
  return installed;
}

}  // namespace
}  // namespace fuseline

using namespace fuseline;

fuseline_status fuseline_guard_begin(const fuseline_range* ranges, int64_t count, fuseline_guard** guard) {
  if (guard == nullptr || count < 1 || ranges == nullptr) return FUSELINE_BAD_ARGUMENT;
  *guard = nullptr;
  for (int64_t i = 0; i < count; ++i)
    if (ranges[i].begin >= ranges[i].end) return FUSELINE_BAD_ARGUMENT;
  Owned<fuseline_guard> made = own<fuseline_guard>();
  if (made == nullptr || !made->ranges.reserve(static_cast<size_t>(count))) return FUSELINE_NO_MEMORY;
  for (int64_t i = 0; i < count; ++i) made->ranges.add(ranges[i]);
  const Locked locked;
  if (!install()) return FUSELINE_BAD_ARGUMENT;
  made->next.store(guards.load());
  guards.store(made.get());
  *guard = made.release();
  return FUSELINE_OK;
}

int32_t fuseline_guard_broken(const fuseline_guard* guard) { return guard != nullptr && guard->broken.load() ? 1 : 0; }

void fuseline_guard_end(fuseline_guard* guard) {
  if (guard == nullptr) return;
  const Owned<fuseline_guard> ended(guard);
  const Locked locked;
  std::atomic<fuseline_guard*>* at = &guards;
  while (at->load() != nullptr && at->load() != guard) at = &at->load()->next;
  if (at->load() == guard) at->store(guard->next.load());
  while (handlers.load() != 0) sched_yield();
}
