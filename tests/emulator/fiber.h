// Fibers: stacks between which one host thread switches.
#pragma once

#include <ucontext.h>

#include <cstddef>

namespace emulator {

class Fiber {
 public:
  Fiber() = default;               // stands for the stack that the host thread runs on
  explicit Fiber(void (*body)());  // the body must never return
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  static Fiber& running();
  bool has(const void* address) const {  // on its stack
    const char* const first = static_cast<const char*>(stack_);
    return address >= first && address < first + size_;
  }
  static void begin(Fiber& host);  // `host` is the fiber of the caller from now on
  static void switch_to(Fiber& next);

 private:
  static void enter();
  static void arrive();
  [[noreturn]] static void leave_to(Fiber& next);

  ucontext_t context_ = {};  // to enter it with
  void* place_[5] = {};      // where it stands since then
  bool entered_ = true;
  void (*body_)() = nullptr;
  const void* stack_ = nullptr;
  size_t size_ = 0;
  void* fake_stack_ = nullptr;  // AddressSanitizer's, while another fiber runs
};

}  // namespace emulator
