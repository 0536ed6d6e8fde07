// Programmatic dependent launch (CUDA C++ Programming Guide, chapter of that name; sm_90 and
// later): the blocks of a grid come onto the multiprocessors while the last ones of the preceding
// grid are still at work, and the gap between two launches shrinks to the wait for its end.
//
// launch_dependent allows it, and every kernel that is launched so begins with
// wait_for_preceding_grid(), before it touches global memory. That is safe, because
//  - the wait ends when the preceding grid of the stream has completed and what it wrote can be
//    seen: not when it has triggered. A grid that waits itself completes after the one before it,
//    so all earlier grids have completed too, whatever each has triggered when. So a kernel may
//    read what any of them wrote, and write what any of them read;
//  - a kernel of torch triggers nothing, so a grid of ours behind it begins when it has ended; and
//    one of torch's, or a copy, behind ours is launched as always, at the end of all that we wait
//    for;
//  - every thread waits, also those that have nothing to do: a grid whose threads had all left
//    before could complete while the grid before it still runs;
//  - a grid triggers only once its blocks are resident, and the next one gets no place before they
//    all are: nobody waits for a block that finds no place.
// Before the wait stand what needs no memory (parameters, index arithmetic) and nothing else: also
// weights and states are written by kernels of the same stream. A capture turns such a launch into
// a programmatic edge of the graph (CUDA 12.3 and later), one behind a copy into an ordinary one.
//
// Where the machine code has no wait (sm_80, or PTX of sm_80 on a later GPU) the launch is an
// ordinary one. So it is with ADARTS_DEPENDENT_LAUNCH=0 in the environment, to compare.
#pragma once

#include <cstdlib>
#include <cstring>

#include "portable.cuh"

namespace adarts::cuda {

// Lets the next grid come, and waits for the preceding one. The first statement of a kernel.
__device__ __forceinline__ void wait_for_preceding_grid() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
  cudaGridDependencySynchronize();
#endif
}

#if defined(ADARTS_EMULATED)

template <class... Given>
cudaError_t launch_dependent(const Given&... given) {
  return launch(given...);
}

#elif defined(__CUDACC__)

inline bool dependent_launches() {
  static const bool wanted = [] {
    const char* const value = std::getenv("ADARTS_DEPENDENT_LAUNCH");
    return value == nullptr || std::strcmp(value, "0") != 0;
  }();
  return wanted;
}

// Finds whether the machine code for the current device has the wait. All kernels are compiled for
// the same architectures, so one is asked for all, once a device.
inline cudaError_t find_waits(const void* kernel, bool& waits) {
  thread_local int known = -1;
  thread_local bool known_waits = false;
  int device;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess && device != known) {
    cudaFuncAttributes code;
    error = cudaFuncGetAttributes(&code, kernel);
    if (error == cudaSuccess) {
      known_waits = code.ptxVersion >= 90;
      known = device;
    }
  }
  waits = known_waits;
  return error;
}

// As launch, for a kernel that begins with wait_for_preceding_grid().
template <class... Parameters, class... Arguments>
cudaError_t launch_dependent(void (*kernel)(Parameters...), dim3 grid, dim3 block,
                             size_t dynamic_shared_bytes, cudaStream_t stream,
                             const Arguments&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return cudaSuccess;
  bool waits = false;
  const cudaError_t error = find_waits(reinterpret_cast<const void*>(kernel), waits);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = dynamic_shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = waits && dependent_launches();
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

#endif

}  // namespace adarts::cuda
