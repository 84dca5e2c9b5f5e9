// A block of fibers of one thread, some ten times as fast as one of threads: each runs until it waits for others.
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <vector>

namespace host {

struct Fibers {
  static constexpr size_t kStack = 64 * 1024;
  std::vector<ucontext_t> contexts;
  std::vector<char> done;
  ucontext_t outside;
  unsigned now = 0, waits = 0;  // waits: since one went on
  void (*run)(const void*, unsigned) = nullptr;
  const void* of = nullptr;

  void go_on(unsigned from) {
    for (unsigned i = 1; i <= contexts.size(); ++i) {
      const unsigned next = (from + i) % static_cast<unsigned>(contexts.size());
      if (done[next] || next == from) continue;
      now = next;
      swapcontext(&contexts[from], &contexts[next]);
      now = from;
      return;
    }
    if (done[from]) swapcontext(&contexts[from], &outside);
  }
};
inline Fibers* fibers = nullptr;

inline void begin_fiber() {
  const unsigned self = fibers->now;
  fibers->run(fibers->of, self);
  fibers->done[self] = 1;
  fibers->waits = 0;
  fibers->go_on(self);
}

class Barrier {
 public:
  explicit Barrier(unsigned threads) : threads_(threads) {}
  void wait() {
    if (++here_ == threads_) {
      here_ = 0;
      ++times_;
      fibers->waits = 0;
      return;
    }
    for (const unsigned before = times_; times_ == before;) {
      if (++fibers->waits > 2 * fibers->contexts.size()) {
        fprintf(stderr, "threads of a block wait for others that do not come\n");
        abort();
      }
      fibers->go_on(fibers->now);
    }
  }

 private:
  unsigned threads_, here_ = 0, times_ = 0;
};

// run(thread) for each, in turns.
template <class Run>
void together(unsigned threads, const Run& run) {
  static std::vector<char> stacks;
  if (stacks.size() < threads * Fibers::kStack) stacks.resize(threads * Fibers::kStack);
  Fibers all;
  all.contexts.resize(threads);
  all.done.resize(threads);
  all.run = [](const void* of, unsigned thread) { (*static_cast<const Run*>(of))(thread); };
  all.of = &run;
  fibers = &all;
  for (unsigned thread = 0; thread < threads; ++thread) {
    getcontext(&all.contexts[thread]);
    all.contexts[thread].uc_stack.ss_sp = &stacks[thread * Fibers::kStack];
    all.contexts[thread].uc_stack.ss_size = Fibers::kStack;
    makecontext(&all.contexts[thread], begin_fiber, 0);
  }
  swapcontext(&all.outside, &all.contexts[0]);
  fibers = nullptr;
}

}  // namespace host
