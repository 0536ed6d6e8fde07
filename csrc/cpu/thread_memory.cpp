#include <algorithm>
#include <memory>

#include "cell/shared.h"

namespace adarts::cpu {

namespace {

constexpr size_t kAlign = 64;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

struct Stack {
  std::unique_ptr<char, Free> memory;
  size_t size = 0, used = 0;
  size_t wanted = 0, most = 0;  // also by those whom it was too small for: now, and at most
};

thread_local Stack stack;

void* allocate(size_t bytes) {
  void* memory = std::aligned_alloc(kAlign, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

ThreadMemory::ThreadMemory(size_t bytes)
    : bytes_(std::max((bytes + kAlign - 1) / kAlign, size_t(1)) * kAlign) {
  if (stack.wanted == 0 && stack.most > stack.size) {
    stack.memory.reset();
    stack.size = 0;
    stack.memory.reset(static_cast<char*>(allocate(stack.most)));
    stack.size = stack.most;
  }
  own_ = stack.used + bytes_ > stack.size;
  data_ = own_ ? allocate(bytes_) : stack.memory.get() + stack.used;
  if (!own_) stack.used += bytes_;
  stack.wanted += bytes_;
  stack.most = std::max(stack.most, stack.wanted);
}

ThreadMemory::~ThreadMemory() {
  stack.wanted -= bytes_;
  if (own_)
    std::free(data_);
  else
    stack.used -= bytes_;
}

}  // namespace adarts::cpu
