// What the levels share: included before a level's target is set, so that no function of the
// standard library is compiled for a level and then used by another.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>
#include <vector>

#include "../search_cell.h"
#include "../vectorize.h"

#define ADARTS_PRAGMA(text) _Pragma(#text)
#define ADARTS_OUTLINE __attribute__((noinline))  // large and called from many places

namespace adarts::cpu {

// Scratch memory of a thread, taken and given back as a stack. What the largest task so far needed
// is kept for the next one: asking the system for megabytes in each task, and clearing them, took
// longer than some tasks.
class ThreadMemory {
 public:
  explicit ThreadMemory(size_t bytes);
  ~ThreadMemory();
  ThreadMemory(const ThreadMemory&) = delete;
  ThreadMemory& operator=(const ThreadMemory&) = delete;

  void* data() const { return data_; }

 private:
  size_t bytes_;
  void* data_;
  bool own_;  // did not fit into what the thread has
};

}  // namespace adarts::cpu
