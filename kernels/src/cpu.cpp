// Asks what the CPU offers: on x86 the CPU itself, cpuid for the instructions and xgetbv for whether the operating system
// saves their registers; on ARM the operating system, since programs may not ask the CPU there.
#include "cpu.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef FUSELINE_X86
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(FUSELINE_ARM) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(FUSELINE_ARM) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(FUSELINE_ARM) && defined(_WIN32)
#include <windows.h>
#endif

namespace fuseline {
namespace {

struct Feature {
  const char* name;
  bool present;
};

// Writes the names of those that are present.
template <size_t N>
void list(const Feature (&all)[N], Cpu& into) {
  for (const Feature& feature : all) {
    if (!feature.present) continue;
    if (into.features[0] != '\0') std::strcat(into.features, " ");
    std::strcat(into.features, feature.name);
  }
}

#ifdef FUSELINE_X86

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// All zero if the CPU does not know the leaf.
Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

// The register state that the operating system saves (XCR0). To be asked only where cpuid says OSXSAVE.
uint64_t saved_state() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Whether tiles may be used from now on: they are 8 kB that Linux saves only for programs that ask (its
// Documentation/arch/x86/xstate.rst).
bool tiles_granted() {
#ifdef __linux__
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

#ifdef FUSELINE_EMULATED_TILES
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

// Intel, Software Developer's Manual, volume 2, CPUID; volume 1, 14.3 and 15.2 for the state bits.
Cpu ask() {
  const Registers one = cpuid(1, 0), seven = cpuid(7, 0), seven_one = cpuid(7, 1);
  const auto bit = [](uint32_t word, int n) { return (word >> n & 1) != 0; };
  const uint64_t state = bit(one.ecx, 27) ? saved_state() : 0;
  const bool ymm = (state & 0x06) == 0x06;  // XMM and YMM
  const bool zmm = (state & 0xe6) == 0xe6;  // and the masks, the upper halves and the upper sixteen of ZMM
  const bool tiles = (state & 0x60000) == 0x60000;
  const Feature all[] = {
      {"sse4.1", bit(one.ecx, 19)},
      {"avx", ymm && bit(one.ecx, 28)},
      {"f16c", ymm && bit(one.ecx, 29)},
      {"fma", ymm && bit(one.ecx, 12)},
      {"avx2", ymm && bit(seven.ebx, 5)},
      {"avxvnni", ymm && bit(seven_one.eax, 4)},
      {"avx512f", zmm && bit(seven.ebx, 16)},
      {"avx512dq", zmm && bit(seven.ebx, 17)},
      {"avx512bw", zmm && bit(seven.ebx, 30)},
      {"avx512vl", zmm && bit(seven.ebx, 31)},
      {"avx512vnni", zmm && bit(seven.ecx, 11)},
      {"avx512bf16", zmm && bit(seven_one.eax, 5)},
      {"amxint8", tiles && bit(seven.edx, 24) && bit(seven.edx, 25)},
      {"amxbf16", tiles && bit(seven.edx, 24) && bit(seven.edx, 22)},
  };
  const auto has = [&all](const char* name) {
    for (const Feature& feature : all)
      if (std::strcmp(feature.name, name) == 0) return feature.present;
    return false;
  };
  Cpu found{};
  found.avx2 = has("avx2") && has("fma") && has("f16c");
  found.avx512 = found.avx2 && has("avx512f") && has("avx512dq") && has("avx512bw") && has("avx512vl") &&
                 has("avx512vnni");
  found.avx512bf16 = found.avx512 && has("avx512bf16");
  found.amx = found.avx512 && (kEmulated || (has("amxint8") && has("amxbf16") && tiles_granted()));
  list(all, found);
  return found;
}

#elif defined(FUSELINE_ARM) && defined(__linux__)

// Linux, Documentation/arch/arm64/elf_hwcaps.rst; the names are those of /proc/cpuinfo.
Cpu ask() {
  const unsigned long has = getauxval(AT_HWCAP), more = getauxval(AT_HWCAP2);
  const Feature all[] = {
      {"asimd", (has & HWCAP_ASIMD) != 0},      {"asimdhp", (has & HWCAP_ASIMDHP) != 0},
      {"asimddp", (has & HWCAP_ASIMDDP) != 0},  {"sve", (has & HWCAP_SVE) != 0},
      {"i8mm", (more & HWCAP2_I8MM) != 0},      {"bf16", (more & HWCAP2_BF16) != 0},
  };
  Cpu found{};
  found.neon = (has & HWCAP_ASIMD) != 0 && (has & HWCAP_ASIMDDP) != 0;
  found.neonbf16 = found.neon && (more & HWCAP2_BF16) != 0;
  list(all, found);
  return found;
}

#elif defined(FUSELINE_ARM) && defined(__APPLE__)

bool known(const char* name) {
  int32_t present = 0;
  size_t size = sizeof present;
  return sysctlbyname(name, &present, &size, nullptr, 0) == 0 && present != 0;
}

// Apple, "Determining instruction set characteristics"; the names are Linux's.
Cpu ask() {
  const Feature all[] = {
      {"asimd", true},
      {"asimdhp", known("hw.optional.arm.FEAT_FP16")},
      {"asimddp", known("hw.optional.arm.FEAT_DotProd")},
      {"i8mm", known("hw.optional.arm.FEAT_I8MM")},
      {"bf16", known("hw.optional.arm.FEAT_BF16")},
  };
  Cpu found{};
  found.neon = known("hw.optional.arm.FEAT_DotProd");
  found.neonbf16 = found.neon && known("hw.optional.arm.FEAT_BF16");
  list(all, found);
  return found;
}

#elif defined(FUSELINE_ARM) && defined(_WIN32)

// Microsoft, IsProcessorFeaturePresent, by number since older headers lack the names; an older Windows knows none of them. The names are
// Linux's.
Cpu ask() {
  const bool dot = IsProcessorFeaturePresent(43) != 0, bf16 = IsProcessorFeaturePresent(68) != 0;
  const Feature all[] = {
      {"asimd", true},
      {"asimdhp", IsProcessorFeaturePresent(67) != 0},
      {"asimddp", dot},
      {"i8mm", IsProcessorFeaturePresent(66) != 0},
      {"bf16", bf16},
  };
  Cpu found{};
  found.neon = dot;
  found.neonbf16 = dot && bf16;
  list(all, found);
  return found;
}

#else

Cpu ask() { return {}; }

#endif

}  // namespace

const Cpu& cpu() {
  static const Cpu found = ask();
  return found;
}

}  // namespace fuseline
