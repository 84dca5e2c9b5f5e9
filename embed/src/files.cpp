#include "files.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <system_error>
#include <vector>

#include "failure.h"

namespace embedded {

template <class Use>
void Files::read_parts(const std::string& name, Use use) const {
  if (in_memory()) return use(static_cast<const char*>(in_place(name).data), in_place(name).size);
  std::ifstream stream(on_disk(name), std::ios::binary);
  if (!stream) throw Failure(path(name) + " cannot be read; `fuseline export --embed` writes the folders that can be opened");
  std::vector<char> part(1 << 16);
  while (stream.read(part.data(), static_cast<std::streamsize>(part.size())) || stream.gcount() > 0)
    use(part.data(), static_cast<size_t>(stream.gcount()));
  if (stream.bad()) throw Failure(path(name) + " cannot be read to its end");
}

const fuseline_file& Files::in_place(const std::string& name) const {
  const auto found = std::find_if(files_, files_ + count_, [&](const fuseline_file& each) { return each.name == name; });
  if (found == files_ + count_) throw Failure(name + " is not among the files in memory");
  return *found;
}

std::string Files::read(const std::string& name) const {
  std::string content;
  read_parts(name, [&](const char* part, size_t size) { content.append(part, size); });
  return content;
}

void Files::check(const std::string& name, const Listed& listed, bool content) const {
  const std::string damaged = path(name) + " is damaged: ";
  std::error_code error;
  const uint64_t bytes = in_memory() ? in_place(name).size : std::filesystem::file_size(on_disk(name), error);
  if (error) throw Failure(path(name) + " cannot be read: " + error.message());
  if (bytes != listed.bytes)
    throw Failure(damaged + "it has " + std::to_string(bytes) + " bytes instead of " + std::to_string(listed.bytes) + "; copy it again");
  if (!content) return;
  uint32_t crc = 0;
  read_parts(name, [&crc](const char* part, size_t size) { crc = crc32(crc, part, size); });
  if (crc != listed.crc32) throw Failure(damaged + "its crc32 is not the one that fuseline-embed.bin lists; copy it again");
}

uint32_t crc32(uint32_t before, const char* bytes, size_t size) {
  static const auto kTable = [] {
    std::array<uint32_t, 256> of_byte{};
    for (uint32_t byte = 0; byte < of_byte.size(); ++byte) {
      of_byte[byte] = byte;
      for (int bit = 0; bit < 8; ++bit) of_byte[byte] = of_byte[byte] >> 1 ^ (of_byte[byte] & 1) * 0xEDB88320;
    }
    return of_byte;
  }();
  uint32_t crc = ~before;
  for (const char* at = bytes; at != bytes + size; ++at) crc = crc >> 8 ^ kTable[(crc ^ static_cast<uint8_t>(*at)) & 0xFF];
  return ~crc;
}

}  // namespace embedded
