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

// Of every byte of a page, the block that has used it in this launch, for each use.
using Touched = std::array<std::array<uint32_t, kPage>, 3>;
using Unwritten = std::bitset<kPage>;

std::unordered_map<uintptr_t, std::unique_ptr<Touched>> touched;  // by the number of the page
std::unordered_map<uintptr_t, std::unique_ptr<Unwritten>> unwritten;

struct Page {
  uintptr_t number;
  Touched* touched;
  Unwritten* unwritten;  // null where all is written
};
std::array<Page, 4096> recent;  // those found last are found fast

template <class Value>
Value& made(std::unordered_map<uintptr_t, std::unique_ptr<Value>>& all, uintptr_t number) {
  auto& value = all[number];
  if (!value) value = std::make_unique<Value>();
  return *value;
}

const Page& find(uintptr_t number) {
  Page& page = recent[number * 0x9e3779b97f4a7c15 >> 52];
  if (page.number != number) {
    const auto found = unwritten.find(number);
    page = {number, &made(touched, number), found == unwritten.end() ? nullptr : &*found->second};
  }
  return page;
}

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
constexpr bool may_race(Use earlier, Use use) { return earlier != use || use == Use::write; }

void keep_races(const Touched& by, size_t byte, uint32_t block, Use use, uintptr_t at) {
  static constexpr const char* does[] = {"reads", "writes", "updates"};
  static constexpr const char* did[] = {"read", "wrote", "updated"};
  for (const Use earlier : {Use::read, Use::write, Use::atomic}) {
    const uint32_t other = by[int(earlier)][byte];
    if (other == kNobody || other == block || !may_race(earlier, use)) continue;
    keep(std::string("race between blocks: ") + does[int(use)] + " what " + block_text(other) +
             " " + did[int(earlier)] + ",",
         at);
  }
}

void check_written(Unwritten& bits, uintptr_t first, size_t bytes, Use use) {
  bool untouched = use != Use::write;
  for (uintptr_t at = first; at < first + bytes; ++at) {
    untouched &= bits[at % kPage] && *reinterpret_cast<unsigned char*>(at) == kPattern[at % 2];
    bits[at % kPage] = false;
  }
  if (untouched && !observed()) keep("reads global memory that nobody has written,", first);
}

// Inline, for the compiler knows most numbers of bytes.
[[gnu::always_inline]] inline void reach_global(uintptr_t first, size_t bytes, Use use) {
  const uint32_t block = 1 + blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const Page& page = find(first / kPage);
  const size_t begin = first % kPage;
  bool alone = true;
  for (const Use earlier : {Use::read, Use::write, Use::atomic}) {
    if (!may_race(earlier, use)) continue;
    const uint32_t* const by = &(*page.touched)[int(earlier)][begin];
    for (size_t i = 0; i < bytes; ++i) alone &= by[i] == kNobody || by[i] == block;
  }
  if (!alone) {
    for (size_t i = 0; i < bytes; ++i) keep_races(*page.touched, begin + i, block, use, first + i);
  }
  uint32_t* const by = &(*page.touched)[int(use)][begin];
  for (size_t i = 0; i < bytes; ++i) by[i] = by[i] == kNobody || by[i] == block ? block : kSeveral;
  if (page.unwritten) check_written(*page.unwritten, first, bytes, use);
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
    next = (at / 8 + 1) * 8;
    if (at % 8 || next > end)
      reach_global(at, std::min(end, next) - at, use);
    else
      reach_global(at, 8, use);
  }
}

}  // namespace

void mark_unwritten(void* memory, size_t bytes) {
  const std::lock_guard lock(one_launch_at_a_time);
  const auto first = reinterpret_cast<uintptr_t>(memory), end = first + bytes;
  for (uintptr_t at = first; at < end;) {
    Unwritten& page = made(unwritten, at / kPage);
    for (const auto next = std::min(end, (at / kPage + 1) * kPage); at < next; ++at) {
      *reinterpret_cast<unsigned char*>(at) = kPattern[at % 2];
      page.set(at % kPage);
    }
  }
  recent = {};
}

void update_global(const void* address, size_t bytes) { reach(address, bytes, Use::atomic); }

void begin_global() {
  touched.clear();
  recent = {};
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
