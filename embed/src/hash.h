// SHA-256 (FIPS 180-4), by which fuseline-embed.json knows its files.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <string>

namespace embedded {

class Sha256 {
 public:
  void add(const void* data, size_t size);
  std::string hexadecimal();  // of all that was added; the last call

 private:
  void block(const uint8_t* bytes);

  uint32_t state_[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};
  uint8_t waiting_[64];
  uint64_t size_ = 0;
};

}  // namespace embedded
