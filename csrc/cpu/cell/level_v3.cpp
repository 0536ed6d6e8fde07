// The search cell's phases for x86-64-v3.
#include "shared.h"

#if ADARTS_LEVELS
#pragma GCC target("arch=x86-64-v3")
#define ADARTS_LEVEL x86_64_v3
#define ADARTS_REGISTERS 16
#define ADARTS_REGISTER_BYTES 32
#define ADARTS_UNROLL(count) ADARTS_PRAGMA(GCC unroll count)
#include "phases.h"
#endif
