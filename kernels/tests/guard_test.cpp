// Guards of real files: what is gone reads as zeros, on several threads at once, and not what is there or no longer guarded.
#include <fcntl.h>

#include <atomic>

#include "fuseline_kernels.h"
#include "testing.h"

namespace testing {
namespace {

const auto kPage = static_cast<size_t>(sysconf(_SC_PAGESIZE));

// A file of whole pages that begin with ones, and its mapping.
class Mapped {
 public:
  explicit Mapped(size_t pages) : bytes_(pages * kPage) {
    char name[] = "/tmp/guard_test_XXXXXX";
    file_ = mkstemp(name);
    unlink(name);
    for (size_t i = 0; i < pages; ++i)
      if (pwrite(file_, "\1", 1, static_cast<off_t>(i * kPage)) != 1) std::abort();
    cut(pages);
    memory_ = static_cast<volatile char*>(mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, file_, 0));
    if (memory_ == MAP_FAILED) std::abort();
  }
  ~Mapped() {
    munmap(const_cast<char*>(memory_), bytes_);
    close(file_);
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  void cut(size_t pages) {
    if (ftruncate(file_, static_cast<off_t>(pages * kPage)) != 0) std::abort();
  }
  int64_t operator[](size_t page) const { return memory_[page * kPage]; }
  fuseline_range range() const {
    const auto begin = reinterpret_cast<uint64_t>(memory_);
    return {begin, begin + bytes_, 0};
  }

 private:
  size_t bytes_;
  int file_;
  volatile char* memory_;
};

fuseline_guard* begun(const std::vector<fuseline_range>& ranges) {
  fuseline_guard* guard = nullptr;
  expect(fuseline_guard_begin(ranges.data(), static_cast<int64_t>(ranges.size()), &guard) == FUSELINE_OK, "no guard");
  return guard;
}

void test_one_file() {
  NOW("a file that is cut short");
  Mapped file(8), other(2);
  fuseline_guard *guard = begun({other.range(), file.range()}), *second = begun({file.range()}), *third = begun({other.range()});
  file.cut(3);
  expect(file[0] == 1 && file[2] == 1 && fuseline_guard_broken(guard) == 0, "what is there is not as it was");
  expect(file[3] == 0 && file[7] == 0 && file[2] == 1, "what is gone is not zeros");
  expect(fuseline_guard_broken(guard) == 1 && fuseline_guard_broken(second) == 1, "nobody knows");
  expect(fuseline_guard_broken(third) == 0, "the guard of another file is broken");
  for (fuseline_guard* each : {second, guard, third, static_cast<fuseline_guard*>(nullptr)}) fuseline_guard_end(each);
}

void test_bad_arguments() {
  NOW("guards of nothing");
  fuseline_guard* guard = nullptr;
  const fuseline_range good{4096, 8192, 0}, empty{4096, 4096, 0}, turned{8192, 4096, 1}, pair[] = {good, empty};
  expect(fuseline_guard_begin(&good, 1, nullptr) == FUSELINE_BAD_ARGUMENT, "without a place for it");
  expect(fuseline_guard_begin(nullptr, 1, &guard) == FUSELINE_BAD_ARGUMENT, "without ranges");
  for (const int64_t count : {int64_t{0}, int64_t{-1}, INT64_MIN})
    expect(fuseline_guard_begin(&good, count, &guard) == FUSELINE_BAD_ARGUMENT, "of %ld ranges", static_cast<long>(count));
  expect(fuseline_guard_begin(&empty, 1, &guard) == FUSELINE_BAD_ARGUMENT, "of no bytes");
  expect(fuseline_guard_begin(&turned, 1, &guard) == FUSELINE_BAD_ARGUMENT, "of less than no bytes");
  expect(fuseline_guard_begin(pair, 2, &guard) == FUSELINE_BAD_ARGUMENT, "one of them of no bytes");
  expect(guard == nullptr && fuseline_guard_broken(nullptr) == 0, "there is a guard");
}

// Guards come and go while others read what is gone.
void test_threads(int cases) {
  NOW("guards on several threads");
  const size_t pages = 200;
  Mapped common(pages);
  fuseline_guard* const guard = begun({common.range()});
  common.cut(1);
  std::vector<std::thread> threads;
  std::atomic<int64_t> wrong{0};
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < cases; ++i) {
        Mapped own(5);
        fuseline_guard* const mine = begun({own.range()});
        own.cut(2);
        wrong += own[1] != 1 || own[2] != 0 || own[4] != 0 || fuseline_guard_broken(mine) != 1;
        fuseline_guard_end(mine);
        for (size_t page = 1 + t; page < pages; page += 3) wrong += common[page] != 0;
      }
    });
  for (std::thread& thread : threads) thread.join();
  expect(wrong == 0 && common[0] == 1 && fuseline_guard_broken(guard) == 1, "%ld are wrong", static_cast<long>(wrong));
  fuseline_guard_end(guard);
}

}  // namespace

void test_guard(int cases) {
  test_one_file();
  test_bad_arguments();
  test_threads(cases);
}

}  // namespace testing
