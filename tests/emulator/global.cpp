#include "global.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <sstream>
#include <string>
#include <unordered_map>
#include <utility>

#include "block.h"
#include "observer.h"

namespace emulator {

namespace {

constexpr uintptr_t kPage = 4096;
constexpr uint32_t kNobody = 0, kSeveral = ~0u;  // otherwise a block's number, from 1
// Not a number in bfloat16, float16 and float32, and none that a computation gives.
constexpr unsigned char kPattern[2] = {0x95, 0x7f};

enum class Use { read, write, atomic };

// The blocks that have touched a byte in this launch.
struct Cell {
  uint32_t by[3];
};

// What is known of memory, in pages by their address; those found last are found fast.
template <class Page>
class Pages {
 public:
  Page* find(uintptr_t number) {
    auto& [known, page] = recent_[number % recent_.size()];
    if (page && known == number) return page;
    const auto found = all_.find(number);
    if (found == all_.end()) return nullptr;
    known = number;
    return page = found->second.get();
  }
  Page& make(uintptr_t number) {
    if (Page* const found = find(number)) return *found;
    return *(all_[number] = std::make_unique<Page>());
  }
  void clear() {
    all_.clear();
    recent_ = {};
  }

 private:
  std::unordered_map<uintptr_t, std::unique_ptr<Page>> all_;
  std::array<std::pair<uintptr_t, Page*>, 64> recent_ = {};
};

Pages<std::array<Cell, kPage>> touched;
Pages<std::bitset<kPage>> unwritten;
std::string problem;  // the first

void keep(const std::string& what, uintptr_t at) {
  if (!problem.empty()) return;
  std::ostringstream text;
  text << Block::current()->who() << ": " << what << " at 0x" << std::hex << at;
  problem = text.str();
}

std::string block_text(uint32_t number) {
  if (number == kSeveral) return "several blocks";
  const uint32_t i = number - 1;
  return "block " + text(dim3(i % gridDim.x, i / gridDim.x % gridDim.y, i / gridDim.x / gridDim.y));
}

// Reads race with no reads, atomic operations not with each other.
void check_races(Cell& cell, uint32_t block, Use use, uintptr_t at) {
  static constexpr const char* does[] = {"reads", "writes", "updates"};
  static constexpr const char* did[] = {"read", "wrote", "updated"};
  for (const Use earlier : {Use::read, Use::write, Use::atomic}) {
    const uint32_t other = cell.by[int(earlier)];
    if (other == kNobody || other == block) continue;
    if (earlier == use && use != Use::write) continue;
    keep(std::string("race between blocks: ") + does[int(use)] + " what " + block_text(other) +
             " " + did[int(earlier)] + ",",
         at);
  }
  uint32_t& by = cell.by[int(use)];
  by = by == kNobody || by == block ? block : kSeveral;
}

void check_written(std::bitset<kPage>& bits, uintptr_t first, size_t bytes, Use use) {
  bool untouched = use != Use::write;
  for (uintptr_t at = first; at < first + bytes; ++at) {
    untouched &= bits[at % kPage] && *reinterpret_cast<unsigned char*>(at) == kPattern[at % 2];
    bits[at % kPage] = false;
  }
  if (untouched && !observed()) keep("reads global memory that nobody has written,", first);
}

void reach_global(uintptr_t first, size_t bytes, Use use) {
  const uint32_t block = 1 + blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  Cell* const cells = &touched.make(first / kPage)[first % kPage];
  for (size_t i = 0; i < bytes; ++i) check_races(cells[i], block, use, first + i);
  if (auto* const bits = unwritten.find(first / kPage)) check_written(*bits, first, bytes, use);
}

// Of a kernel, but for its threads' own stacks. Launchers are compiled with the kernels.
[[gnu::always_inline]] inline bool is_global(const void* address) {
  if (!Block::current()) return false;
  const Fiber& fiber = Fiber::running();
  return fiber.has(__builtin_frame_address(0)) && !fiber.has(address);
}

[[gnu::always_inline]] inline void reach(const void* address, size_t bytes, Use use) {
  if (is_global(address)) reach_global(reinterpret_cast<uintptr_t>(address), bytes, use);
}

// A GPU takes such a range in aligned words.
void reach_range(const void* address, size_t bytes, Use use) {
  const auto first = reinterpret_cast<uintptr_t>(address), end = first + bytes;
  for (uintptr_t at = first, next; at < end; at = next) {
    next = std::min(end, (at / 8 + 1) * 8);
    reach_global(at, next - at, use);
  }
}

}  // namespace

void mark_unwritten(void* memory, size_t bytes) {
  const std::lock_guard lock(one_launch_at_a_time);
  const auto first = reinterpret_cast<uintptr_t>(memory);
  for (uintptr_t at = first; at < first + bytes; ++at) {
    *reinterpret_cast<unsigned char*>(at) = kPattern[at % 2];
    unwritten.make(at / kPage).set(at % kPage);
  }
}

void update_global(const void* address, size_t bytes) { reach(address, bytes, Use::atomic); }

void begin_global() {
  touched.clear();
  problem.clear();
}

void check_global() {
  if (!problem.empty()) throw Report(problem);
}

}  // namespace emulator

using emulator::Use;

// What the compiler calls before an access.
#define ACCESS(bytes)                                                                          \
  void __tsan_read##bytes(const void* address) { emulator::reach(address, bytes, Use::read); } \
  void __tsan_write##bytes(const void* address) { emulator::reach(address, bytes, Use::write); }

extern "C" {

void __tsan_init() {}

ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)

void __tsan_read_range(const void* address, size_t bytes) {
  if (emulator::is_global(address)) emulator::reach_range(address, bytes, Use::read);
}

void __tsan_write_range(const void* address, size_t bytes) {
  if (emulator::is_global(address)) emulator::reach_range(address, bytes, Use::write);
}
}
