#include "table.h"

#include "files.h"

namespace embedded {

Table::Table(const std::string& path, std::string content) : path_(path), content_(std::move(content)) {
  const std::string_view all = content_;
  uint32_t listed = 0;
  if (all.size() < sizeof listed) damaged("it is cut short");
  memcpy(&listed, all.data(), sizeof listed);
  if (crc32(0, all.data() + sizeof listed, all.size() - sizeof listed) != listed) damaged("its crc32 is not the one that it begins with");
  const Texts found = texts(all.substr(sizeof listed));
  for (size_t i = 0; i + 1 < found.size(); i += 2) entries_.emplace(found[i], found[i + 1]);
}

std::string_view Table::at(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) damaged("it lacks " + name);
  return found->second;
}

void Table::copy(const std::string& name, void* to, size_t size) const {
  const std::string_view bytes = at(name);
  if (bytes.size() != size) damaged(name + " has " + std::to_string(bytes.size()) + " bytes instead of " + std::to_string(size));
  memcpy(to, bytes.data(), size);
}

Texts Table::texts(std::string_view bytes) const {
  Texts found;
  while (!bytes.empty()) {
    uint32_t size = 0;
    if (bytes.size() < sizeof size) damaged("a text of it is cut short");
    memcpy(&size, bytes.data(), sizeof size);
    bytes.remove_prefix(sizeof size);
    if (bytes.size() < size) damaged("a text of it is cut short");
    found.push_back(bytes.substr(0, size));
    bytes.remove_prefix(size);
  }
  return found;
}

void Table::damaged(const std::string& reason) const {
  throw Failure(path_ + " is damaged: " + reason + "; copy it again, or export the model again");
}

}  // namespace embedded
