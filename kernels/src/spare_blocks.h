// Memory that runs of layers hand on to each other. What lies between a layer's operators is some megabytes of a photo, and
// malloc gives so much back to the system when it is freed: every layer would fault all of its pages in again.
#pragma once

#include <atomic>

#include "memory.h"

namespace fuseline {

struct Block {
  Memory memory;
  int64_t bytes = 0;
};

// Blocks that nobody uses now. Of one thread.
class SpareBlocks {
 public:
  static constexpr size_t kMost = 16;

  // A block of at least so many bytes, whose memory is null where there is not enough.
  Block take(int64_t bytes) {
    size_t best = count_, largest = 0;
    for (size_t i = 0; i < count_; ++i) {
      if (blocks_[i].bytes >= bytes && (best == count_ || blocks_[i].bytes < blocks_[best].bytes)) best = i;
      if (blocks_[i].bytes > blocks_[largest].bytes) largest = i;
    }
    if (best < count_) return out(best);
    if (count_ > 0) out(largest);  // the new one comes in its place, so that there are no more than were ever needed at once
    Block made{memory_of(bytes), bytes};
    if (made.memory == nullptr) made.bytes = 0;
    return made;
  }

  void give(Block block) {
    if (block.memory == nullptr || count_ == kMost) return;
    bytes_ += block.bytes;
    blocks_[count_++] = std::move(block);
  }

  int64_t bytes() const { return bytes_; }

 private:
  Block out(size_t i) {
    Block found = std::move(blocks_[i]);
    bytes_ -= found.bytes;
    --count_;
    if (i != count_) blocks_[i] = std::move(blocks_[count_]);
    return found;
  }

  Block blocks_[kMost];
  size_t count_ = 0;
  int64_t bytes_ = 0;
};

// Where they are between two runs. Several runs at once each have some of their own, and those of the last one stay.
class Spares {
 public:
  static constexpr int64_t kMostBytes = int64_t{256} << 20;  // that are kept: more are of large batches, which work longer

  static Owned<SpareBlocks> take() {
    Owned<SpareBlocks> found(kept().exchange(nullptr, std::memory_order_acquire));
    return found != nullptr ? std::move(found) : own<SpareBlocks>();
  }

  static void give(Owned<SpareBlocks> blocks) {
    if (blocks == nullptr || blocks->bytes() > kMostBytes) return;
    const Owned<SpareBlocks> before(kept().exchange(blocks.release(), std::memory_order_acq_rel));
  }

  static void drop() { const Owned<SpareBlocks> before(kept().exchange(nullptr, std::memory_order_acquire)); }

 private:
  static std::atomic<SpareBlocks*>& kept() {
    static std::atomic<SpareBlocks*> blocks{nullptr};
    return blocks;
  }
};

}  // namespace fuseline
