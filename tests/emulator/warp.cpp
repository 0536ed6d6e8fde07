// Shuffles, votes and __syncwarp: the lanes named in a mask meet, and the last one to come works
// out what all of them get.
#include <algorithm>
#include <bit>

#include "block.h"

namespace emulator {

namespace {

// The lane whose value a shuffle returns: PTX's shfl, where a source outside the lane's own group
// of `width` lanes (for bxor: in a later group) means the lane itself.
unsigned source_lane(const Request& request, unsigned lane) {
  const unsigned first = lane & ~(request.width - 1);
  const unsigned last = first + request.width - 1;
  const unsigned argument = request.argument;
  switch (request.kind) {
    case Kind::shfl:
      return first + (argument & (request.width - 1));
    case Kind::up:
      return argument <= lane - first ? lane - argument : lane;
    case Kind::down:
      return argument <= last - lane ? lane + argument : lane;
    case Kind::bxor:
      return (lane ^ argument) <= last ? lane ^ argument : lane;
    default:
      return lane;
  }
}

bool same_meeting(const Request& request, const Thread& other) {
  return request.mask == other.request.mask && same_instruction(request, other.request);
}

}  // namespace

uint64_t Block::collective(Request request) {
  const unsigned lane = thread_->number % 32;
  Thread* const warp = thread_ - lane;
  if (!std::has_single_bit(request.width) || request.width > 32)
    report("wrong width: calls " + text(request) + " with width " + std::to_string(request.width) +
           ", expected a power of 2 up to 32");
  request.source = source_lane(request, lane);
  Meeting& meeting = meetings_[thread_->number / 32];
  if (!meeting.waiting) meeting = {thread_, 0, meeting.ended, true};
  meeting.alike = meeting.alike && (!meeting.waiting || same_meeting(request, *meeting.first));
  check_request(request, warp, meeting.alike);
  meeting.waiting |= 1u << lane;
  thread_->request = request;
  thread_->state = State::in_warp;
  for (unsigned other = 0; other < 32; ++other) {
    const Thread& thread = warp[other];
    const bool arrived = thread.state == State::in_warp && thread.request.mask == request.mask;
    if ((request.mask >> other & 1) && !arrived) {
      wait();
      return thread_->result;
    }
  }
  complete(warp, request);
  return thread_->result;
}

// What can be known to be wrong when the running thread arrives; `alike` is of all that meet.
void Block::check_request(const Request& request, const Thread* warp, bool alike) const {
  const unsigned lane = thread_->number % 32;
  const unsigned lanes = std::min<size_t>(32, threads_.size() - (thread_->number - lane));
  const auto named = [](unsigned mask, unsigned l) { return mask >> l & 1; };
  if (!named(request.mask, lane))
    report("wrong mask: calls " + text(request) + ", which leaves out its own lane " +
           std::to_string(lane));
  if (!named(request.mask, request.source))
    report("wrong mask: reads lane " + std::to_string(request.source) + " in " + text(request) +
           ", which leaves that lane out");
  if (lanes < 32 && request.mask >> lanes)
    report("wrong mask: calls " + text(request) + ", but its warp has only " +
           std::to_string(lanes) + " lanes");
  if (alike && !(meetings_[thread_->number / 32].ended & request.mask)) return;
  for (unsigned l = 0; l < lanes; ++l) {
    const Thread& other = warp[l];
    const bool needed = named(request.mask, l);
    if (needed && other.state == State::ended)
      report("divergence: waits in " + text(request) + " for " + name(other.number) +
             ", which has ended");
    if (other.state != State::in_warp) continue;
    const bool needs_me = named(other.request.mask, lane);
    if (!needed && !needs_me) continue;
    const bool same = same_instruction(request, other.request);
    if (request.mask == other.request.mask ? !same : same || (needed && needs_me))
      report("divergence: calls " + text(request) + ", while " + name(other.number) + " waits in " +
             text(other.request));
  }
}

void Block::complete(Thread* warp, const Request& request) {
  Meeting& meeting = meetings_[thread_->number / 32];
  meeting.waiting &= ~request.mask;
  meeting.alike = false;  // where others wait still, the first may be gone
  unsigned ballot = 0;
  for (unsigned lane = 0; lane < 32; ++lane)
    if ((request.mask >> lane & 1) && warp[lane].request.value) ballot |= 1u << lane;
  if (request.kind == Kind::syncwarp) order_lanes(warp, request.mask);
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (!(request.mask >> lane & 1)) continue;
    Thread& thread = warp[lane];
    thread.state = State::ready;
    if (&thread != thread_) ready_.push_back(&thread);
    switch (request.kind) {
      case Kind::ballot:
        thread.result = ballot;
        break;
      case Kind::any:
        thread.result = ballot != 0;
        break;
      case Kind::all:
        thread.result = ballot == request.mask;
        break;
      default:
        thread.result = warp[thread.request.source].request.value;
    }
  }
}

// After __syncwarp every lane knows what any of them knew before, and starts a new count of its
// own.
void Block::order_lanes(Thread* warp, unsigned mask) {
  std::array<unsigned, 32> clock = {};
  for (unsigned lane = 0; lane < 32; ++lane)
    if (mask >> lane & 1)
      for (unsigned i = 0; i < 32; ++i) clock[i] = std::max(clock[i], warp[lane].clock[i]);
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1)) continue;
    warp[lane].clock = clock;
    ++warp[lane].clock[lane];
  }
}

}  // namespace emulator
