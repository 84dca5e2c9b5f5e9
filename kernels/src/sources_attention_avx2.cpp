// Attention to several sources for the instruction set avx2, which the compiler is told of; the algorithm is in sources_attention.h.
#include "sources_attention.h"

namespace fuseline {

void sources_attention_avx2(const fuseline_sources_attention& a, int64_t first, int64_t last, float* scratch) {
  sources_attention(a, first, last, scratch);
}

}  // namespace fuseline
