#include "fiber.h"

#include <sys/mman.h>

#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {

namespace {

constexpr size_t kStack = 256 << 10;
constexpr size_t kGuard = 4096;  // an overflowing stack faults instead of damaging its neighbour

Fiber* running_fiber = nullptr;
Fiber* previous_fiber = nullptr;

}  // namespace

Fiber::Fiber(void (*body)()) : entered_(false), body_(body), size_(kStack) {
  void* const memory =
      mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, kGuard, PROT_NONE);
  stack_ = memory;
  getcontext(&context_);
  context_.uc_stack.ss_sp = memory;
  context_.uc_stack.ss_size = kStack;
  makecontext(&context_, &Fiber::enter, 0);
}

Fiber::~Fiber() {
  if (body_) munmap(const_cast<void*>(stack_), size_);
}

Fiber& Fiber::running() { return *running_fiber; }

void Fiber::begin(Fiber& host) { running_fiber = &host; }

void Fiber::enter() {
  arrive();
  running_fiber->body_();
}

// The first statement on a stack that was switched to.
void Fiber::arrive() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(running_fiber->fake_stack_, &previous_fiber->stack_,
                                  &previous_fiber->size_);
#endif
}

// Goes on where `next` stood. A function of its own, as the compiler demands of the jump. Neither
// is instrumented: AddressSanitizer would forget what it knows about the stack that is left.
[[gnu::noinline, gnu::no_sanitize("address")]] void Fiber::leave_to(Fiber& next) {
  // swapcontext would ask the kernel for the signal mask every time, half of the time of a test.
  if (next.entered_) __builtin_longjmp(next.place_, 1);
  next.entered_ = true;
  setcontext(&next.context_);
  __builtin_unreachable();
}

[[gnu::no_sanitize("address")]] void Fiber::switch_to(Fiber& next) {
  Fiber& self = *running_fiber;
  previous_fiber = &self;
  running_fiber = &next;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&self.fake_stack_, next.stack_, next.size_);
#endif
  if (!__builtin_setjmp(self.place_)) leave_to(next);
  arrive();
}

}  // namespace emulator
