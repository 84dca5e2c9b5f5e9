// What this CPU offers, and its operating system lets programs use.
#pragma once

namespace fuseline {

struct Cpu {
  bool avx2;           // AVX2, FMA and F16C
  bool avx512;         // AVX-512 F, BW, VL, DQ and VNNI
  bool avx512bf16;     // and BF16
  bool amx;            // AVX-512 as above, and AMX with 8-bit integers and bfloat16, which Linux lets a program use when asked
  bool neon;           // NEON with dot product
  bool neonbf16;       // and BF16
  char features[256];  // all that is worth reporting, with spaces between
};

// Asked of the CPU once, when first called.
const Cpu& cpu();

}  // namespace fuseline
