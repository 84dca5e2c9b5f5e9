// The C interface: checks the arguments and calls the function of the instruction set in use.
#include <atomic>
#include <cstring>

#include "cpu.h"
#include "fuseline_kernels.h"
#include "top_candidates.h"

namespace fuseline {
namespace {

// One instruction set: what it is called and its function for every operator.
struct Isa {
  const char* name;
  bool (*usable)();
  TopCandidates* top_candidates;
};

const Isa kIsas[] = {
    {"scalar", [] { return true; }, top_candidates_scalar},
#ifdef FUSELINE_X86
    {"avx2", [] { return cpu().avx2; }, top_candidates_avx2},
    {"avx512", [] { return cpu().avx512; }, top_candidates_avx512},
#endif
};

const Isa* widest() {
  const Isa* best = kIsas;
  for (const Isa& isa : kIsas)
    if (isa.usable()) best = &isa;
  return best;
}

std::atomic<const Isa*>& in_use() {
  static std::atomic<const Isa*> isa{widest()};
  return isa;
}

struct Names {
  char text[64] = "";
  Names() {
    for (const Isa& isa : kIsas) {
      if (!isa.usable()) continue;
      if (text[0] != '\0') std::strcat(text, " ");
      std::strcat(text, isa.name);
    }
  }
};

}  // namespace
}  // namespace fuseline

using namespace fuseline;

int32_t fuseline_abi(void) { return FUSELINE_KERNELS_ABI; }

const char* fuseline_isa(void) { return in_use().load()->name; }

const char* fuseline_available_isas(void) {
  static const Names names;
  return names.text;
}

fuseline_status fuseline_use_isa(const char* name) {
  if (name == nullptr) return FUSELINE_BAD_ARGUMENT;
  for (const Isa& isa : kIsas) {
    if (std::strcmp(isa.name, name) != 0) continue;
    if (!isa.usable()) return FUSELINE_ABSENT_ISA;
    in_use().store(&isa);
    return FUSELINE_OK;
  }
  return FUSELINE_UNKNOWN_ISA;
}

const char* fuseline_cpu_features(void) { return cpu().features; }

fuseline_status fuseline_top_candidates(const float* logits, int64_t rows, int64_t vocab, int64_t row_stride,
                                        int64_t k, float* values, int64_t* indices, float* logsumexp) {
  if (rows < 0 || k < 1 || vocab < k || (rows > 1 && row_stride < vocab)) return FUSELINE_BAD_ARGUMENT;
  if (rows == 0) return FUSELINE_OK;
  if (logits == nullptr || values == nullptr || indices == nullptr || logsumexp == nullptr)
    return FUSELINE_BAD_ARGUMENT;
  in_use().load()->top_candidates(logits, rows, vocab, row_stride, k, values, indices, logsumexp);
  return FUSELINE_OK;
}
