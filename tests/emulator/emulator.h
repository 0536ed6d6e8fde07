// The stand-in for the CUDA runtime: what csrc/cuda/device/portable.cuh lists, for the host
// compiler.
//
// Blocks run one after another, the threads of a block one at a time, both in an order that a seed
// shuffles (ADARTS_EMULATOR_SEED). Whatever goes wrong is an exception whose message names kernel,
// block and thread.
//
// As on a GPU an access must be aligned to its width. Stricter than one: a thread may not end
// before a barrier that others wait in, the lanes of a shuffle or vote must call it in the same
// line, a mask may not name lanes that the block does not have, and two blocks of a launch may not
// touch a byte of global memory that one of them writes (global.h). Not seen: races within a block
// in global memory, __launch_bounds__, registers, speed.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>

#include "block.h"
#include "global.h"
#include "observer.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

using cudaStream_t = struct Stream*;
enum cudaError_t { cudaSuccess = 0 };

namespace emulator {

cudaError_t launch(const void* kernel, dim3 grid, dim3 block, size_t dynamic_bytes,
                   const std::vector<unsigned char>& parameters, std::function<void()> body);
cudaError_t allow_shared(const void* kernel, size_t bytes);

// A value as the 64 bits that a shuffle moves.
template <class T>
using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

template <class T>
T shuffle(Kind kind, unsigned mask, T value, unsigned argument, int width, Where where) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  const uint64_t bits = std::bit_cast<Bits<T>>(value);
  const uint64_t result = Block::current()->collective(
      {kind, where, mask, bits, argument, static_cast<unsigned>(width)});
  return std::bit_cast<T>(static_cast<Bits<T>>(result));
}

inline unsigned vote(Kind kind, unsigned mask, bool predicate, Where where) {
  return Block::current()->collective({kind, where, mask, predicate});
}

template <class T>
constexpr bool has_atomics =
    std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long>;

// In global memory, or in shared memory, where the address is the emulator's own.
template <class T>
[[gnu::no_sanitize("thread")]] T add(T* address, T value) {
  static_assert(has_atomics<T>);
  using Unsigned = std::make_unsigned_t<T>;  // which wraps around, as on a GPU
  const T old = *address;
  *address = static_cast<T>(static_cast<Unsigned>(old) + static_cast<Unsigned>(value));
  return old;
}

template <class T>
[[gnu::no_sanitize("thread")]] T maximum(T* address, T value) {
  static_assert(has_atomics<T>);
  const T old = *address;
  if (value > old) *address = value;
  return old;
}

template <class T>
T* target(const SharedAddress<T>& address) {
  return static_cast<T*>(address.storage->update(address.index));
}

template <class T>
SharedArray<T> fixed_array(const void* site, const char* name, size_t count) {
  return SharedArray<T>(Block::current()->shared.fixed(site, name, sizeof(T), count));
}

template <class T>
SharedArray<T> dynamic_array(const char* name) {
  return SharedArray<T>(Block::current()->shared.dynamic(name, sizeof(T)));
}

}  // namespace emulator

inline void __syncthreads(emulator::Where where = emulator::Where::current()) {
  emulator::Block::current()->barrier(emulator::Kind::syncthreads, 0, where);
}

inline int __syncthreads_or(int value, emulator::Where where = emulator::Where::current()) {
  return emulator::Block::current()->barrier(emulator::Kind::syncthreads_or, value, where);
}

inline void __syncwarp(unsigned mask = 0xffffffffu,
                       emulator::Where where = emulator::Where::current()) {
  emulator::Block::current()->collective({emulator::Kind::syncwarp, where, mask});
}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32,
              emulator::Where where = emulator::Where::current()) {
  return emulator::shuffle(emulator::Kind::shfl, mask, value, lane, width, where);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 emulator::Where where = emulator::Where::current()) {
  return emulator::shuffle(emulator::Kind::up, mask, value, delta, width, where);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   emulator::Where where = emulator::Where::current()) {
  return emulator::shuffle(emulator::Kind::down, mask, value, delta, width, where);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  emulator::Where where = emulator::Where::current()) {
  return emulator::shuffle(emulator::Kind::bxor, mask, value, lane_mask, width, where);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              emulator::Where where = emulator::Where::current()) {
  return emulator::vote(emulator::Kind::ballot, mask, predicate != 0, where);
}

inline int __any_sync(unsigned mask, int predicate,
                      emulator::Where where = emulator::Where::current()) {
  return emulator::vote(emulator::Kind::any, mask, predicate != 0, where);
}

inline int __all_sync(unsigned mask, int predicate,
                      emulator::Where where = emulator::Where::current()) {
  return emulator::vote(emulator::Kind::all, mask, predicate != 0, where);
}

template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  emulator::update_global(address, sizeof(T));
  return emulator::add(address, value);
}

template <class T>
T atomicAdd(emulator::SharedAddress<T> address, std::type_identity_t<T> value) {
  return emulator::add(emulator::target(address), value);
}

template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  emulator::update_global(address, sizeof(T));
  return emulator::maximum(address, value);
}

template <class T>
T atomicMax(emulator::SharedAddress<T> address, std::type_identity_t<T> value) {
  return emulator::maximum(emulator::target(address), value);
}

// The static variable has an address of its own in every function and every template instance.
#define ADARTS_SHARED(T, name, count) \
  static const char name##_site = 0;  \
  const auto name = emulator::fixed_array<T>(&name##_site, #name, count)

#define ADARTS_DYNAMIC_SHARED(T, name) const auto name = emulator::dynamic_array<T>(#name)

#define ADARTS_ASSERT(condition) \
  ((condition) ? void() : emulator::Block::current()->report("assertion failed: " #condition))

#define ADARTS_ALIGNED(pointer, bytes) \
  ADARTS_ASSERT(reinterpret_cast<uintptr_t>(pointer) % (bytes) == 0)

namespace adarts::cuda {

inline int multiprocessors() { return 132; }

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block,
                   size_t dynamic_shared_bytes, cudaStream_t, const Arguments&... arguments) {
  return emulator::launch(reinterpret_cast<const void*>(kernel), grid, block, dynamic_shared_bytes,
                          emulator::parameter_bytes<Parameters...>(arguments...),
                          [&] { kernel(arguments...); });
}

template <class... Parameters>
cudaError_t allow_shared(void (*kernel)(Parameters...), size_t bytes) {
  return emulator::allow_shared(reinterpret_cast<const void*>(kernel), bytes);
}

}  // namespace adarts::cuda
