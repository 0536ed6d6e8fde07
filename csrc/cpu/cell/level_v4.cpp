// The search cell's phases for x86-64-v4.
#include "shared.h"

#if ADARTS_LEVELS
#pragma GCC target("arch=x86-64-v4")
#define ADARTS_LEVEL x86_64_v4
#define ADARTS_REGISTERS 32
#define ADARTS_REGISTER_BYTES 64
#define ADARTS_UNROLL(count) ADARTS_PRAGMA(GCC unroll count)
#include "phases.h"
#endif
