// Threads that compute a layer together. One leads: it goes through the layer's operators and shares out their loops. The
// others help, and fetch the weights of the next loop while there is none.
//
// Two things are gained over handing each loop to a pool of threads: a loop begins in a fraction of a microsecond, and
// memory, which a step waits for, does not rest while the leader does what only one thread can do.
//
// Who leads waits only for what somebody has begun, so helpers may come late or never.
#pragma once

#include <stdint.h>

#include <atomic>

namespace fuseline {

// Weights that are read soon.
struct Ahead {
  const char* weights = nullptr;
  int64_t bytes = 0;
};

class Team {
 public:
  static constexpr uint64_t kMostThreads = 16;

  // Calls part(first, last) until all of [0, total) is done, on the threads that there are. next: what helpers fetch
  // meanwhile when they have nothing else to do, which must live as long as the team.
  template <class Part>
  void share(int64_t total, const Part& part, const Ahead* next) {
    size_ = total / kMask + 1;
    total_ = total;
    of_ = &part;
    part_ = [](const void* of, int64_t first, int64_t last) { (*static_cast<const Part*>(of))(first, last); };
    const uint64_t pieces = static_cast<uint64_t>((total + size_ - 1) / size_), threads = present();
    left_.store(pieces, std::memory_order_relaxed);
    ++loop_;
    for (uint64_t t = 0; t < threads; ++t)
      ranges_[t].open.store(pack(loop_, pieces * t / threads, pieces * (t + 1) / threads), std::memory_order_release);
    loops_.store(loop_, std::memory_order_release);
    ahead(next);
    work(0);
    while (left_.load(std::memory_order_acquire) != 0) rest();
  }

  void ahead(const Ahead* next) { ahead_.store(next, std::memory_order_release); }

  void end() { over_.store(true, std::memory_order_release); }

  // For all but the leader: returns when the team has come to its end, or at once where it is large enough.
  void help() {
    const uint64_t self = threads_.fetch_add(1, std::memory_order_acq_rel);
    if (self >= kMostThreads) return;
    uint64_t loop = 0;
    const char* fetching = nullptr;
    int64_t fetched = 0;
    while (!over_.load(std::memory_order_acquire)) {
      const uint64_t newest = loops_.load(std::memory_order_acquire);
      if (newest != loop) {
        loop = newest;
        work(self);
        continue;
      }
      const Ahead* next = ahead_.load(std::memory_order_acquire);
      if (next->weights != fetching) fetched = 0;
      fetching = next->weights;
      if (!fetch(*next, self, &fetched)) rest();
    }
  }

 private:
  static constexpr int64_t kMostFetched = 256 << 10;  // of a second-level cache of 1 MB
  static constexpr int kBits = 24;
  static constexpr int64_t kMask = (1 << kBits) - 1;

  // The pieces of a loop that are a thread's own as long as nobody else has taken them. One word, with the loop's number, so
  // that a piece of an earlier loop is never taken.
  struct alignas(64) Range {
    std::atomic<uint64_t> open{0};
  };

  static uint64_t pack(uint64_t loop, uint64_t low, uint64_t high) { return loop << (2 * kBits) | high << kBits | low; }

  static void rest() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
  }

  uint64_t present() const {
    const uint64_t threads = threads_.load(std::memory_order_acquire);
    return threads < kMostThreads ? threads : kMostThreads;
  }

  // Does a thread's own pieces from the first on, as they lie in memory, then what others have not begun from the last on.
  void work(uint64_t self) {
    const uint64_t threads = present();
    for (uint64_t t = 0; t < threads; ++t)
      while (take(ranges_[(self + t) % threads].open, t == 0)) continue;
  }

  // Half of a range; false where it is empty.
  bool take(std::atomic<uint64_t>& range, bool own) {
    uint64_t open = range.load(std::memory_order_acquire), low, high, count;
    do {
      low = open & kMask, high = open >> kBits & kMask;
      if (low == high) return false;
      count = (high - low + 1) / 2;
    } while (!range.compare_exchange_weak(open, own ? open + count : open - (count << kBits), std::memory_order_acq_rel,
                                          std::memory_order_acquire));
    const int64_t first = static_cast<int64_t>(own ? low : high - count) * size_;
    const int64_t last = first + static_cast<int64_t>(count) * size_;
    part_(of_, first, last < total_ ? last : total_);
    left_.fetch_sub(count, std::memory_order_acq_rel);
    return true;
  }

  // Fetches a little of what will be this helper's own; false where all is fetched.
  bool fetch(const Ahead& next, uint64_t self, int64_t* fetched) const {
    const int64_t size = next.bytes / static_cast<int64_t>(present());
    if (*fetched + 1024 > (size < kMostFetched ? size : kMostFetched)) return false;
    const char* from = next.weights + static_cast<int64_t>(self) * size + *fetched;
    for (int line = 0; line < 1024; line += 64) __builtin_prefetch(from + line, 0, 2);
    *fetched += 1024;
    return true;
  }

  Range ranges_[kMostThreads];
  std::atomic<uint64_t> left_{0}, loops_{0}, threads_{1};
  std::atomic<const Ahead*> ahead_{&nothing_};
  std::atomic<bool> over_{false};
  Ahead nothing_;
  uint64_t loop_ = 0;  // this and what follows is the leader's, and read by who has a piece of the loop
  int64_t total_ = 0, size_ = 0;
  const void* of_ = nullptr;
  void (*part_)(const void* of, int64_t first, int64_t last) = nullptr;
};

}  // namespace fuseline
