// The search cell's phases for any processor.
#include "shared.h"
#define ADARTS_LEVEL baseline
#define ADARTS_REGISTERS 16
#define ADARTS_REGISTER_BYTES 16
#define ADARTS_UNROLL(count) ADARTS_PRAGMA(GCC unroll 1)  // compiles in a quarter of the time
#include "phases.h"
