// The only header that knows in which world a kernel is compiled: by nvcc for a GPU, or, with
// ADARTS_EMULATED, by the host compiler for the emulator of the tests (tests/emulator/emulator.h).
//
// Kernels use nothing of CUDA beyond this list, spelled alike in both worlds:
//   __global__, __device__, __host__, __forceinline__, __launch_bounds__(n), __restrict__
//   threadIdx, blockIdx, blockDim, gridDim, dim3
//   __syncthreads(), __syncthreads_or(int), __syncwarp(mask)
//   __shfl_sync, __shfl_up_sync, __shfl_down_sync, __shfl_xor_sync for int, unsigned, long long,
//   float and double; __ballot_sync, __any_sync, __all_sync
//   atomicAdd, atomicMax for int, unsigned and unsigned long long
//   ADARTS_SHARED(T, name, count);     a static shared array, used as name[i] only: read, =, +=,
//                                      -=, *=, and &name[i] for an atomic operation
//   ADARTS_DYNAMIC_SHARED(T, name);    the block's dynamic shared memory as T[], likewise
//   ADARTS_ASSERT(condition);          ends the kernel with an error where it does not hold
//   ADARTS_ALIGNED(pointer, bytes);    likewise where an access so wide is misaligned: a GPU sees
//   it
//                                      itself, and a host does not mind
// T must be one word for the preprocessor. A function that is given a shared array takes it as a
// template parameter, by value. An element is read into a variable of type T, not of type auto.
//
// Launchers, on the host:
//   launch(kernel, grid, block, dynamic_shared_bytes, stream, arguments...) -> cudaError_t
//   allow_shared(kernel, bytes) -> cudaError_t    before launches with more than 48 KiB
//   multiprocessors() -> int
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(ADARTS_EMULATED)
#include "emulator.h"
#elif defined(__CUDACC__)
#include <cuda_runtime.h>
#undef NDEBUG  // index values can only be checked on the device, in every build
#include <cassert>
#else
#include <cuda_runtime_api.h>
#endif

namespace adarts::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

#if !defined(ADARTS_EMULATED)

// Of the current device; 1 where it cannot be asked, the launch that follows reports the reason.
inline int multiprocessors() {
  int device = 0;
  int count = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 1;
  if (cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
    return 1;
  return count;
}

#endif

#if defined(__CUDACC__)

#define ADARTS_SHARED(T, name, count) __shared__ T name[count]

// All kernels share one declaration, whatever their element type.
#define ADARTS_DYNAMIC_SHARED(T, name)                                   \
  extern __shared__ __align__(16) unsigned char adarts_dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(adarts_dynamic_shared)

#define ADARTS_ASSERT(condition) assert(condition)
#define ADARTS_ALIGNED(pointer, bytes)

// A grid without blocks is no error and no launch.
template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block,
                   size_t dynamic_shared_bytes, cudaStream_t stream,
                   const Arguments&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return cudaSuccess;
  kernel<<<grid, block, dynamic_shared_bytes, stream>>>(arguments...);
  return cudaGetLastError();
}

template <class... Parameters>
cudaError_t allow_shared(void (*kernel)(Parameters...), size_t bytes) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                              cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
}

#endif

}  // namespace adarts::cuda
