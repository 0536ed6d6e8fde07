// One block: its threads, who of them runs, and what they wait for.
//
// Threads are run one at a time, each on a fiber, until they end or wait. A thread that waits
// hands over to another one, picked at random. An error anywhere in the block ends all its threads
// and is thrown from run().
#pragma once

#include <array>
#include <cstdint>
#include <exception>
#include <functional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <vector>

#include "fiber.h"
#include "shared.h"

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;  // of the running thread

namespace emulator {

struct Report : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Where = std::source_location;

enum class Kind { syncthreads, syncthreads_or, syncwarp, shfl, up, down, bxor, ballot, any, all };

// What a thread asks for and waits for.
struct Request {
  Kind kind;
  Where where;
  unsigned mask = 0;      // the rest is for warps only
  uint64_t value = 0;     // what the lane gives
  unsigned argument = 0;  // lane, delta or lane mask of a shuffle
  unsigned width = 32;
  unsigned source = 0;  // the lane whose value a shuffle returns
};

enum class State { ready, in_barrier, in_warp, ended };

struct Thread {
  unsigned number = 0;
  dim3 index = {};
  State state = State::ready;
  Fiber* fiber = nullptr;  // none before it runs for the first time
  Request request = {};
  uint64_t result = 0;
  std::array<unsigned, 32> clock = {};  // of every lane: how many of its __syncwarp it knows of
};

// The lanes of a warp that wait for each other.
struct Meeting {
  const Thread* first = nullptr;  // of those that wait
  unsigned waiting = 0, ended = 0;
  bool alike = true;  // all wait with the same mask, in the same instruction
};

struct Random {
  uint64_t state;
  unsigned below(unsigned bound);
};

// What all blocks of a launch have in common.
struct Launch {
  std::string kernel;
  dim3 grid, block;
  size_t dynamic_bytes, raised_bytes;  // of shared memory
  std::function<void()> body;          // the kernel with its arguments
  Random random;
};

std::string text(const dim3& index);
std::string text(const Request& request);
bool same_instruction(const Request& a, const Request& b);

class Block {
 public:
  explicit Block(Launch& launch)
      : shared(*this, launch.dynamic_bytes, launch.raised_bytes), launch_(launch) {}

  void run(dim3 index);
  static Block* current();

  // What the running thread calls.
  int barrier(Kind kind, int value, Where where);
  uint64_t collective(Request request);
  [[noreturn]] void report(const std::string& what) const;
  Access access() const;
  bool ordered(const Access& earlier) const;  // by a barrier before what the thread does now
  std::string name(unsigned thread) const;
  std::string who() const;  // kernel, block and running thread

  SharedMemory shared;

 private:
  static void work();
  static Fiber& idle_fiber();
  void run_thread();
  void end_thread();
  void wait();
  Thread* take();
  void fail(std::exception_ptr failure);
  std::string describe_deadlock() const;
  void check_request(const Request& request, const Thread* warp, bool alike) const;
  void complete(Thread* warp, const Request& request);
  void order_lanes(Thread* warp, unsigned mask);

  Launch& launch_;
  dim3 index_;
  std::vector<Thread> threads_;
  std::vector<Meeting> meetings_;  // of every warp
  std::vector<Thread*> ready_;
  Thread* thread_ = nullptr;  // the running one
  Fiber* host_ = nullptr;
  std::exception_ptr failure_;
  unsigned epoch_ = 0;  // barriers passed
  unsigned in_barrier_ = 0;
  int any_ = 0;  // what __syncthreads_or returns
  const Thread* first_in_barrier_ = nullptr;
  const Thread* first_ended_ = nullptr;
};

}  // namespace emulator
