// Choice of the instruction set: the best one that this CPU has, or the one that the environment
// variable DLDL_FAST_CPU names (to test every path, or to compare).
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "cpu/kernels.h"

#if defined(__GNUC__) && defined(__x86_64__)
#define DLDL_FAST_X86 1
#endif

namespace dldl_fast {
namespace {

struct InstructionSet {
  const char* name;
  int64_t width;  // float lanes of a vector
  bool supported;
  const Kernels* table;
};

struct Choice {
  InstructionSet sets[3];
  int best;
};

Choice choose() {
#ifdef DLDL_FAST_X86
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") &&
                          __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  Choice choice = {{{"avx512", 16, has_avx512, avx512::kTable},
                    {"avx2", 8, has_avx2, avx2::kTable},
                    {"baseline", 4, true, baseline::kTable}},
                   0};
#else
  Choice choice = {{{"avx512", 16, false, nullptr},
                    {"avx2", 8, false, nullptr},
                    {"baseline", 4, true, baseline::kTable}},
                   0};
#endif
  while (!choice.sets[choice.best].supported) ++choice.best;
  const char* forced = std::getenv("DLDL_FAST_CPU");
  if (forced == nullptr || *forced == '\0') return choice;
  for (int i = 0; i < 3; ++i) {
    if (std::strcmp(forced, choice.sets[i].name) != 0) continue;
    if (!choice.sets[i].supported) {
      throw std::runtime_error(std::string("DLDL_FAST_CPU=") + forced +
                               ": this CPU or this build does not have it");
    }
    choice.best = i;
    return choice;
  }
  throw std::runtime_error(std::string("DLDL_FAST_CPU must be avx512, avx2 or baseline, got ") +
                           forced);
}

const Choice& choice() {
  static const Choice kChoice = choose();
  return kChoice;
}

}  // namespace

const char* cpu_capability() { return choice().sets[choice().best].name; }

const Kernels& kernels(Storage storage, int64_t n_labels) {
  const Choice& c = choice();
  const int column = static_cast<int>(storage);
  for (int i = c.best; i < 3; ++i) {
    if (n_labels >= c.sets[i].width) return c.sets[i].table[column];
  }
  return scalar::kTable[column];
}

}  // namespace dldl_fast
