// Tokens into texts by the table that is beside the graphs, words.json; and texts in pieces while they are made.
#pragma once

#include <stdint.h>

#include <string>
#include <utility>
#include <vector>

#include "json.h"

namespace embedded {

class Words {
 public:
  explicit Words(const Json& record);

  std::string text(const int64_t* tokens, size_t count) const;

 private:
  std::vector<std::string> first_, later_;  // of each token, where it begins a text and where not; first_ may be empty: the same
  std::vector<bool> begins_;                // whether what follows is no longer the first
  std::vector<std::pair<std::string, std::string>> clean_up_;
};

// The text of a growing sequence in pieces that are never taken back. A word comes when the next one begins, since it may
// still grow, and a mark may take the space before it away; in scripts without spaces each letter comes at once.
class Pieces {
 public:
  std::string grown(const std::string& certain) { return next(settled(certain)); }
  std::string whole(const std::string& text) { return next(text); }
  // What follows the pieces so far if the sequence goes on like this.
  std::string tentative(const std::string& text) const;

 private:
  static std::string settled(std::string text);
  std::string next(const std::string& text);

  std::string given_;
};

}  // namespace embedded
