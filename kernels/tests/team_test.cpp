// Teams: loops of random sizes, each reading what the one before wrote, with as many helpers as it happens, late ones too.
#include "../src/team.h"

#include "testing.h"

namespace testing {
namespace {

void test_loops(Random& random) {
  const int64_t helpers = random.whole(0, 3), most = random.chance(0.1) ? 20000 : 200;
  const Buffer<char> weights(random.chance(0.5) ? random.whole(0, 5000) : (1 << 20) + 3);
  const fuseline::Ahead some{const_cast<Buffer<char>&>(weights).data(), weights.size()}, nothing;
  std::vector<int64_t> sizes;
  for (int64_t i = random.whole(0, 30); i > 0; --i) sizes.push_back(random.whole(0, most));
  NOW("a team of %ld, %zu loops", static_cast<long>(helpers + 1), sizes.size());
  fuseline::Team team;
  std::vector<std::thread> others;
  const bool late = random.chance(0.3);
  const auto come = [&] { for (int64_t i = 0; i < helpers; ++i) others.emplace_back([&] { team.help(); }); };
  if (!late) come();
  std::vector<int64_t> before(static_cast<size_t>(most), 0), after = before;
  for (size_t n = 0; n < sizes.size(); ++n) {
    team.ahead(random.chance(0.5) ? &some : &nothing);
    const int64_t total = sizes[n];
    const auto add = [&](int64_t first, int64_t last) {  // of a place that another thread may have written
      expect(0 <= first && first < last && last <= total, "a part is from %ld to %ld of %ld", static_cast<long>(first),
             static_cast<long>(last), static_cast<long>(total));
      for (int64_t i = first; i < last; ++i) after[static_cast<size_t>(i)] += before[static_cast<size_t>(total - 1 - i)] + 1;
    };
    std::vector<int64_t> expected = after;
    for (int64_t i = 0; i < total; ++i) expected[static_cast<size_t>(i)] += before[static_cast<size_t>(total - 1 - i)] + 1;
    team.share(total, add, &some);
    expect(after == expected, "loop %zu is not done once", n);
    std::swap(before, after);
    if (late && n == sizes.size() / 2) come();
  }
  team.end();
  for (std::thread& each : others) each.join();
}

void test_sizes() {
  NOW("a team that is too large, and one that is over");
  fuseline::Team team;
  std::vector<std::thread> others;
  for (uint64_t i = 0; i < fuseline::Team::kMostThreads + 3; ++i) others.emplace_back([&] { team.help(); });
  const fuseline::Ahead nothing;
  std::atomic<int64_t> done{0};
  const int64_t huge = int64_t{1} << 40;  // more than there are pieces
  team.share(huge, [&](int64_t first, int64_t last) { done += last - first; }, &nothing);
  expect(done == huge, "%ld are done", static_cast<long>(done));
  team.end();
  for (std::thread& each : others) each.join();
  team.help();
}

}  // namespace

void test_team(Random& random, int cases) {
  for (int i = 0; i < cases; ++i) test_loops(random);
  test_sizes();
}

}  // namespace testing
