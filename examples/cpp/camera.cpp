// Says what a camera sees, frame after frame: ffmpeg ... -f image2pipe -c:v ppm - | camera FOLDER
//
// FOLDER is what `fuseline export --embed` has written. Frames come as binary PPMs one after the other. Those that come
// while one is looked at are dropped, but for the newest.
#include <fuseline.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

struct Frame {
  int64_t number = 0, width = 0, height = 0;
  std::vector<uint8_t> rgb;
};

// The next frame; none at the end of the stream. Throws for what is no PPM of 8 bits.
std::optional<Frame> read_frame(std::istream& stream, int64_t number) {
  std::string kind;
  int64_t largest = 0;
  Frame frame;
  if (!(stream >> kind)) return std::nullopt;
  stream >> frame.width >> frame.height >> largest;
  stream.get();  // the one space before the pixels
  const auto fits = [](int64_t size) { return size > 0 && size <= 65535; };
  if (kind != "P6" || largest != 255 || !fits(frame.width) || !fits(frame.height)) throw std::runtime_error("a frame is no PPM of 8 bits (P6)");
  frame.number = number;
  frame.rgb.resize(static_cast<size_t>(3 * frame.width * frame.height));
  if (!stream.read(reinterpret_cast<char*>(frame.rgb.data()), static_cast<std::streamsize>(frame.rgb.size()))) return std::nullopt;
  return frame;
}

// Room for one frame, the newest.
class Newest {
 public:
  void put(Frame frame) {
    const std::lock_guard<std::mutex> lock(mutex_);
    frame_ = std::move(frame);
    changed_.notify_one();
  }
  void end() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
    changed_.notify_one();
  }
  // Waits for one; none after the last.
  std::optional<Frame> take() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return frame_ || ended_; });
    return std::exchange(frame_, std::nullopt);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Frame> frame_;
  bool ended_ = false;
};

struct Release {
  void operator()(fuseline_model* model) const { fuseline_close(model); }
  void operator()(fuseline_result* result) const { fuseline_free_result(result); }
};
template <typename T>
using Owned = std::unique_ptr<T, Release>;

// What is on a frame, or why that cannot be said.
std::string caption(const fuseline_model* model, const Frame& frame) {
  fuseline_input photo;
  fuseline_options options;
  fuseline_no_input(&photo);
  photo.rgb = frame.rgb.data();
  photo.width = frame.width;
  photo.height = frame.height;
  fuseline_default_options(model, &options);
  const Owned<fuseline_result> result(fuseline_generate(model, &photo, &options));
  return result ? fuseline_result_text(result.get(), 0) : fuseline_last_error();
}

void look(const char* folder, std::istream& stream) {
  fuseline_settings settings;
  fuseline_default_settings(&settings);
  const Owned<fuseline_model> model(fuseline_open(folder, &settings));
  if (!model) throw std::runtime_error(fuseline_last_error());
  Newest newest;
  std::exception_ptr failure;
  std::thread reader([&] {
    try {
      for (int64_t number = 0; auto frame = read_frame(stream, number); ++number) newest.put(std::move(*frame));
    } catch (...) {
      failure = std::current_exception();
    }
    newest.end();
  });
  int64_t expected = 0;
  while (const auto frame = newest.take()) {
    const auto before = std::chrono::steady_clock::now();
    const std::string text = caption(model.get(), *frame);
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - before;
    std::printf("frame %lld (%lld dropped, %.0f ms): %s\n", static_cast<long long>(frame->number),
                static_cast<long long>(frame->number - expected), taken.count(), text.c_str());
    std::fflush(stdout);
    expected = frame->number + 1;
  }
  reader.join();
  if (failure) std::rethrow_exception(failure);
}

int main(int count, char** arguments) {
  if (count != 2) return std::fputs("camera: give a FOLDER, and frames as PPMs\n", stderr), 1;
  try {
    look(arguments[1], std::cin);
  } catch (const std::exception& error) {
    return std::fprintf(stderr, "camera: %s\n", error.what()), 1;
  }
}
