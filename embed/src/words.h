// Tokens into texts by what the model's table has of each; and texts in pieces while they are made.
#pragma once

#include <stdint.h>

#include <string>

#include "table.h"

namespace embedded {

class Words {
 public:
  explicit Words(const Table& table);  // which must outlive it

  std::string text(const int64_t* tokens, size_t count) const;

 private:
  Texts first_, later_;      // of each token, where it begins a text and where not; first_ may be empty: the same
  std::string_view begins_;  // of each token, 1 where what follows is no longer the first
  Texts clean_up_;           // of two each first is to be replaced by the second
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
