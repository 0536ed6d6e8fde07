#include "block.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>

namespace emulator {

namespace {

struct Cancelled {};  // thrown into waiting threads after an error, so that their stacks unwind

Block* running_block = nullptr;
std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<Fiber*> idle_fibers;

}  // namespace

const char* name_of(Kind kind) {
  static constexpr const char* names[] = {
      "__syncthreads",    "__syncthreads_or", "__syncwarp",    "__shfl_sync", "__shfl_up_sync",
      "__shfl_down_sync", "__shfl_xor_sync",  "__ballot_sync", "__any_sync",  "__all_sync"};
  return names[static_cast<int>(kind)];
}

std::string text(const dim3& index) {
  return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " +
         std::to_string(index.z) + ")";
}

std::string text(const Request& request) {
  const char* const file = request.where.file_name();
  const char* const slash = std::strrchr(file, '/');
  std::ostringstream text;
  text << name_of(request.kind) << " (" << (slash ? slash + 1 : file) << ":"
       << request.where.line();
  if (request.mask) text << ", mask 0x" << std::hex << request.mask;
  text << ")";
  return text.str();
}

bool same_instruction(const Request& a, const Request& b) {
  const char* const file_a = a.where.file_name();
  const char* const file_b = b.where.file_name();
  return a.kind == b.kind && a.width == b.width && a.where.line() == b.where.line() &&
         a.where.column() == b.where.column() &&
         (file_a == file_b || std::strcmp(file_a, file_b) == 0);
}

unsigned Random::below(unsigned bound) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);  // splitmix64
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return ((z ^ (z >> 31)) >> 32) * bound >> 32;
}

Block* Block::current() { return running_block; }

void Block::run(dim3 index) {
  const dim3& size = launch_.block;
  index_ = index;
  threads_.resize(size.x * size.y * size.z);
  meetings_.assign((threads_.size() + 31) / 32, {});
  for (unsigned i = 0; i < threads_.size(); ++i) {
    threads_[i].number = i;
    threads_[i].index = {i % size.x, i / size.x % size.y, i / size.x / size.y};
    threads_[i].clock[i % 32] = 1;
    ready_.push_back(&threads_[i]);
  }
  Fiber host;
  Fiber::begin(host);
  host_ = &host;
  running_block = this;
  blockIdx = index;
  blockDim = size;
  gridDim = launch_.grid;
  thread_ = take();
  Fiber::switch_to(idle_fiber());
  running_block = nullptr;
  if (failure_) std::rethrow_exception(failure_);
}

Fiber& Block::idle_fiber() {
  if (idle_fibers.empty()) {
    fibers.push_back(std::make_unique<Fiber>(&Block::work));
    return *fibers.back();
  }
  Fiber& fiber = *idle_fibers.back();
  idle_fibers.pop_back();
  return fiber;
}

// The body of every fiber. It runs a thread to its end, then the next one. Only if that one waits
// on another fiber is there something to switch to; this fiber is idle then, until it is given
// another thread, maybe of another block.
void Block::work() {
  for (;;) {
    running_block->run_thread();
    Thread* const next = running_block->thread_ = running_block->take();
    if (next && !next->fiber) continue;
    idle_fibers.push_back(&Fiber::running());
    Fiber::switch_to(next ? *next->fiber : *running_block->host_);
  }
}

void Block::run_thread() {
  thread_->fiber = &Fiber::running();
  threadIdx = thread_->index;
  try {
    launch_.body();
    end_thread();
  } catch (const Cancelled&) {
  } catch (...) {
    thread_->state = State::ended;
    fail(std::current_exception());
  }
  thread_->state = State::ended;
}

// Returns when somebody has made the running thread ready again, and it has been chosen to run.
void Block::wait() {
  Thread* const self = thread_;
  thread_ = take();
  if (thread_ != self) Fiber::switch_to(thread_->fiber ? *thread_->fiber : idle_fiber());
  threadIdx = thread_->index;
  if (failure_) throw Cancelled();
}

// The thread to run next; none if all have ended.
Thread* Block::take() {
  if (ready_.empty()) {
    const bool stuck = std::any_of(threads_.begin(), threads_.end(), [](const Thread& thread) {
      return thread.state != State::ended;
    });
    if (!stuck) return nullptr;
    fail(std::make_exception_ptr(Report(describe_deadlock())));
  }
  Thread*& chosen = ready_[launch_.random.below(ready_.size())];
  Thread* const thread = chosen;
  chosen = ready_.back();
  ready_.pop_back();
  return thread;
}

// From now on threads only run in order to leave their stacks.
void Block::fail(std::exception_ptr failure) {
  failure_ = failure;
  ready_.clear();
  for (Thread& thread : threads_) {
    if (!thread.fiber) thread.state = State::ended;
    if (thread.state != State::ended) ready_.push_back(&thread);
  }
}

void Block::end_thread() {
  if (in_barrier_ > 0)
    report("barrier divergence: ends while " + name(first_in_barrier_->number) + " waits in " +
           text(first_in_barrier_->request));
  const unsigned lane = thread_->number % 32;
  const unsigned warp = thread_->number - lane;
  for (unsigned i = warp; i < std::min<size_t>(warp + 32, threads_.size()); ++i) {
    const Thread& other = threads_[i];
    if (other.state == State::in_warp && (other.request.mask >> lane & 1))
      report("divergence: ends while " + name(i) + " waits for it in " + text(other.request));
  }
  if (!first_ended_) first_ended_ = thread_;
  meetings_[warp / 32].ended |= 1u << lane;
}

int Block::barrier(Kind kind, int value, Where where) {
  thread_->request = {kind, where};
  if (first_ended_)
    report("barrier divergence: waits in " + text(thread_->request) + ", but " +
           name(first_ended_->number) + " has ended");
  if (in_barrier_ == 0) {
    first_in_barrier_ = thread_;
    any_ = 0;
  }
  const Request& first = first_in_barrier_->request;
  if (!same_instruction(first, thread_->request))
    report("barrier divergence: waits in " + text(thread_->request) + ", but " +
           name(first_in_barrier_->number) + " in " + text(first));
  any_ |= value != 0;
  if (++in_barrier_ < threads_.size()) {
    thread_->state = State::in_barrier;
    wait();
    return thread_->result;
  }
  for (Thread& thread : threads_) {
    thread.result = any_;
    thread.state = State::ready;
    if (&thread != thread_) ready_.push_back(&thread);
  }
  in_barrier_ = 0;
  ++epoch_;
  return any_;
}

void Block::report(const std::string& what) const { throw Report(who() + ": " + what); }

std::string Block::who() const {
  return "kernel " + launch_.kernel + ", block " + text(index_) + ", " + name(thread_->number);
}

std::string Block::name(unsigned number) const { return "thread " + text(threads_[number].index); }

std::string Block::describe_deadlock() const {
  std::map<std::string, std::vector<const Thread*>> groups;
  for (const Thread& thread : threads_)
    groups[thread.state == State::ended ? "ended" : "in " + text(thread.request)].push_back(
        &thread);
  std::ostringstream message;
  message << "kernel " << launch_.kernel << ", block " << text(index_) << ": deadlock:";
  const char* separator = " ";
  for (const auto& [state, threads] : groups) {
    message << separator << threads.size() << " " << state << ", first "
            << name(threads.front()->number);
    separator = "; ";
  }
  return message.str();
}

Access Block::access() const {
  return {thread_->number, epoch_, thread_->clock[thread_->number % 32]};
}

bool Block::ordered(const Access& earlier) const {
  if (earlier.epoch < epoch_ || earlier.thread == thread_->number) return true;
  return earlier.thread / 32 == thread_->number / 32 &&
         thread_->clock[earlier.thread % 32] >= earlier.tick;
}

}  // namespace emulator
