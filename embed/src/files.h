// Where the files of a model are: in a folder, or in memory.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <filesystem>
#include <string>

#include "fuseline.h"

namespace embedded {

// As zlib and PNG have it (ISO 3309), of bytes that follow others. before: theirs; 0 for none.
uint32_t crc32(uint32_t before, const char* bytes, size_t size);

// What a file must be.
struct Listed {
  uint64_t bytes, crc32;
};

// All throw Failure for a file that is not there.
class Files {
 public:
  explicit Files(const char* folder) : folder_(folder) {}
  Files(const fuseline_file* files, size_t count) : files_(files), count_(count) {}

  bool in_memory() const { return files_ != nullptr; }
  std::string path(const std::string& name) const { return in_memory() ? name : folder_ + "/" + name; }
  std::filesystem::path on_disk(const std::string& name) const { return std::filesystem::u8path(path(name)); }
  const fuseline_file& in_place(const std::string& name) const;  // of those in memory
  std::string read(const std::string& name) const;
  // Throws Failure where a file is not the one that is listed. content: whether all of it is read for that.
  void check(const std::string& name, const Listed& listed, bool content) const;

 private:
  // Hands on the bytes of a file, in parts.
  template <class Use>
  void read_parts(const std::string& name, Use use) const;

  std::string folder_;
  const fuseline_file* files_ = nullptr;
  size_t count_ = 0;
};

}  // namespace embedded
