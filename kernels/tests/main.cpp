// Every kernel behind fuseline_kernels.h against plain loops in double precision, on every instruction set of this machine.
//
//   kernel_tests [SEED [CASES]] [+ISA ...]
//
// SEED: of the random cases, 1 if not given. CASES: how many of each kernel and instruction set, 200 if not given. +ISA:
// fail unless the machine has this instruction set. Exits with 1 where something is wrong.
#include <csignal>
#include <cstdarg>
#include <string>

#include "fuseline_kernels.h"
#include "testing.h"

namespace testing {

char now[256];
int failures = 0;

void expect(bool holds, const char* format, ...) {
  if (holds || ++failures > 10) return;
  std::printf("FAILED %s %s: ", fuseline_isa(), now);
  va_list arguments;
  va_start(arguments, format);
  std::vprintf(format, arguments);
  va_end(arguments);
  std::printf("\n");
}

}  // namespace testing

using namespace testing;

namespace {

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which say more themselves
void say_where(int) {  // only calls what a signal handler may
  if (write(STDOUT_FILENO, "CRASHED ", 8) < 0 || write(STDOUT_FILENO, now, std::strlen(now)) < 0) _exit(3);
  _exit(2);
}
#endif

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> found;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    found.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return found;
}

void test_choice(const std::vector<std::string>& isas) {
  NOW("the choice of an instruction set");
  expect(fuseline_abi() == FUSELINE_KERNELS_ABI, "the library has version %d", fuseline_abi());
  expect(isas.back() == fuseline_isa(), "%s is in use, not the widest", fuseline_isa());
  expect(fuseline_use_isa("mmx") == FUSELINE_UNKNOWN_ISA, "mmx is known");
  expect(fuseline_use_isa(nullptr) == FUSELINE_BAD_ARGUMENT, "no name is a name");
  expect(isas.back() == fuseline_isa(), "a failed choice changed the instruction set");
}

}  // namespace

int main(int count, char** arguments) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, say_where);
#endif
  const std::vector<std::string> isas = words(fuseline_available_isas());
  test_choice(isas);
  uint64_t numbers[2] = {1, 200};
  int given = 0;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument[0] != '+') {
      if (given < 2) numbers[given++] = std::strtoull(arguments[i], nullptr, 10);
      continue;
    }
    bool here = false;
    for (const std::string& isa : isas) here = here || "+" + isa == argument;
    NOW("this machine");
    expect(here, "it has %s, not %s", fuseline_available_isas(), arguments[i] + 1);
  }
  const int cases = static_cast<int>(numbers[1]);
  Random random(numbers[0]);
  test_team(random, cases);
  test_onnxruntime(random);
  test_guard(cases);
  for (const std::string& isa : isas) {
    expect(fuseline_use_isa(isa.c_str()) == FUSELINE_OK, "%s cannot be used", isa.c_str());
    random = Random(numbers[0]);
    test_linear(random, cases);
    test_layer_norm(random, cases);
    test_convolutions(random, cases);
    test_resizing(random, cases);
    test_attention(random, cases);
    test_encoder_attention(random, cases);
    test_sources_attention(random, cases);
    test_top_candidates(random, cases);
    std::printf("%s: %d cases of each kernel\n", isa.c_str(), cases);
  }
  if (failures > 0) std::printf("%d failures, with the seed %llu\n", failures, static_cast<unsigned long long>(numbers[0]));
  return failures > 0 ? 1 : 0;
}
