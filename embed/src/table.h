// fuseline-embed.bin: what the library must know of a model, as texts by name, so that it reads no JSON. A text is its length
// in bytes, uint32, and they; numbers are little-endian, as on every machine that onnxruntime is made for.
#pragma once

#include <stdint.h>
#include <string.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "failure.h"

namespace embedded {

using Texts = std::vector<std::string_view>;

// All that is found lies in the table's memory. All throw Failure for a table that is not as `fuseline export --embed` writes it.
class Table {
 public:
  // content: the CRC-32 of what follows, and names and what they stand for in turn. path: whose.
  Table(const std::string& path, std::string content);
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  bool has(const std::string& name) const { return entries_.count(name) > 0; }
  std::string_view at(const std::string& name) const;
  Texts list(const std::string& name) const { return texts(at(name)); }
  void copy(const std::string& name, void* to, size_t size) const;
  template <class Type>
  Type value(const std::string& name) const {
    Type found;
    copy(name, &found, sizeof found);
    return found;
  }
  [[noreturn]] void damaged(const std::string& reason) const;

 private:
  Texts texts(std::string_view bytes) const;

  const std::string path_, content_;
  std::map<std::string, std::string_view> entries_;
};

}  // namespace embedded
