// A block of real threads, for sanitizers: all of them go through all blocks.
#pragma once

#include <pthread.h>

#include <thread>
#include <vector>

namespace host {

class Barrier {
 public:
  explicit Barrier(unsigned threads) { pthread_barrier_init(&barrier_, nullptr, threads); }
  ~Barrier() { pthread_barrier_destroy(&barrier_); }
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;
  void wait() { pthread_barrier_wait(&barrier_); }

 private:
  pthread_barrier_t barrier_;
};

// run(thread) for each, at the same time.
template <class Run>
void together(unsigned threads, const Run& run) {
  std::vector<std::thread> all;
  for (unsigned thread = 0; thread < threads; ++thread) all.emplace_back([&run, thread] { run(thread); });
  for (std::thread& each : all) each.join();
}

}  // namespace host
