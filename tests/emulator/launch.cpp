// Launches: their limits, their count by kernel name, and the blocks in turn.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <numeric>
#include <vector>

#include "emulator.h"
#include "kernel_name.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace emulator {

namespace {

std::map<const void*, size_t> raised_shared;  // by allow_shared
std::map<std::string, int64_t> counts;

uint64_t initial_seed() {
  const char* const text = std::getenv("ADARTS_EMULATOR_SEED");
  return text ? std::strtoull(text, nullptr, 10) : 1;
}

uint64_t seed = initial_seed();

void check_limits(const Launch& launch) {
  const auto fail = [&](const std::string& what) {
    throw Report("kernel " + launch.kernel + ": " + what);
  };
  const dim3& grid = launch.grid;
  const dim3& block = launch.block;
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  if (threads < 1 || threads > 1024 || block.z > 64)
    fail("block " + text(block) + " has " + std::to_string(threads) +
         " threads, expected 1 to 1024, and at most 64 in z");
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    fail("grid " + text(grid) + " is larger than (2147483647, 65535, 65535)");
  const std::string problem = shared_problem(0, launch.dynamic_bytes, launch.raised_bytes);
  if (!problem.empty()) fail(problem);
}

#ifdef __SANITIZE_ADDRESS__
// AddressSanitizer ends the process itself; its report lacks who was at work.
void name_thread(const char*) {
  if (Block* const block = Block::current()) std::fprintf(stderr, "%s\n", block->who().c_str());
}
#endif

}  // namespace

cudaError_t allow_shared(const void* kernel, size_t bytes) {
  const std::lock_guard lock(one_launch_at_a_time);
  if (const std::string problem = shared_problem(0, bytes, bytes); !problem.empty())
    throw Report("kernel " + kernel_name(kernel) + ": " + problem);
  raised_shared[kernel] = bytes;
  return cudaSuccess;
}

cudaError_t launch(const void* kernel, dim3 grid, dim3 block, size_t dynamic_bytes,
                   const std::vector<unsigned char>& parameters, std::function<void()> body) {
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  if (blocks == 0) return cudaSuccess;
  const std::lock_guard lock(one_launch_at_a_time);
  Launch launch{kernel_name(kernel),   grid, block, dynamic_bytes,
                raised_shared[kernel], body, {seed}};
  check_limits(launch);
  ++counts[launch.kernel];
  if (!observe(kernel, grid, block, dynamic_bytes, parameters)) return cudaSuccess;
#ifdef __SANITIZE_ADDRESS__
  __asan_set_error_report_callback(&name_thread);
#endif
  std::vector<uint64_t> order(blocks);
  std::iota(order.begin(), order.end(), 0);
  begin_global();
  for (uint64_t i = blocks; i-- > 0;) {
    std::swap(order[i], order[launch.random.below(i + 1)]);
    const uint64_t number = order[i];
    Block(launch).run(dim3(number % grid.x, number / grid.x % grid.y, number / grid.x / grid.y));
    check_global();
  }
  return cudaSuccess;
}

}  // namespace emulator

// For Python, by ctypes.
extern "C" {

__attribute__((visibility("default"))) void adarts_emulator_seed(uint64_t value) {
  emulator::seed = value;
}

// Lines of a kernel's name and how often it was launched since the library was loaded.
__attribute__((visibility("default"))) const char* adarts_emulator_launches() {
  const std::lock_guard lock(emulator::one_launch_at_a_time);
  static std::string lines;
  lines.clear();
  for (const auto& [kernel, count] : emulator::counts)
    lines += kernel + " " + std::to_string(count) + "\n";
  return lines.c_str();
}
}
