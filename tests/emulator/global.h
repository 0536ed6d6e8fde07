// Global memory: what blocks of one launch do to each other in it, and reads of what was never
// written.
//
// The kernels are compiled with -fsanitize=thread. Its calls before every access come here, in the
// place of ThreadSanitizer's library, which knows nothing of blocks. An error is kept until the
// block has ended: the compiler does not expect those calls to throw. Under AddressSanitizer there
// are no such calls.
//
// Memory that the bindings allocate is filled with a pattern. A read that finds it, where no kernel
// has written since, is an error; what torch has written is known by its values.
#pragma once

#include <cstddef>
#include <mutex>

namespace emulator {

inline std::mutex one_launch_at_a_time;  // and no allocation beside it

void mark_unwritten(void* memory, size_t bytes);
void update_global(const void* address, size_t bytes);  // by an atomic operation

void begin_global();  // a launch
void check_global();  // throws what a block has done

}  // namespace emulator
