// The x86-64 levels that all CPU kernels are compiled for, and which of them runs.
#pragma once

// Where the compiler cannot do it the kernels exist at the baseline only.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define ADARTS_LEVELS 1
#else
#define ADARTS_LEVELS 0
#endif

namespace adarts::cpu {

enum class Level { kBaseline = 1, kV3 = 3, kV4 = 4 };

// The level of the environment variable ADARTS_CPU_LEVEL (baseline, v3 or v4), or without it the
// highest that this processor has. Decided once.
// Throws std::runtime_error where the variable has another value or the processor has no such
// level.
Level level();

}  // namespace adarts::cpu
