// Products of a weight with vectors of one image, made by one block.
//
// The vectors lie in the block's dynamic shared memory; places in it are element offsets. Weights
// are read side by side, kLoads at once, through L1 and L2: the scalar loads of a warp already take
// all that a multiprocessor gets from L2, so they are not packed.
#pragma once

#include "tile.cuh"

namespace adarts::cuda {

constexpr int kMostThreads = 1024;

// Launches one block per image, with so many elements of type A for its vectors.
template <class A, class Kernel, class Arguments>
cudaError_t launch_images(Kernel kernel, int64_t images, int threads, int64_t elements,
                          cudaStream_t stream, const Arguments& arguments) {
  constexpr size_t kWithoutAsking = 48 * 1024;
  const size_t bytes = elements * sizeof(A);
  const cudaError_t error = bytes > kWithoutAsking ? allow_shared(kernel, bytes) : cudaSuccess;
  if (error != cudaSuccess) return error;
  return launch(kernel, dim3(images), dim3(threads), bytes, stream, arguments);
}

// sums[k] = sum over i of row[i] * vectors[at + k * size + i], for one row of a weight, made by a
// group of lanes; every lane gets the sums.
template <int Count, class A, class T, class Vectors>
__device__ __forceinline__ void dot_row(const T* row, int size, Vectors vectors, int at, int width,
                                        A (&sums)[Count]) {
  for (int i = static_cast<int>(threadIdx.x) % width; i < size; i += kLoads * width) {
    A weight[kLoads];
    for (int j = 0; j < kLoads; ++j)
      weight[j] = i + j * width < size ? A(row[i + j * width]) : A(0);
    for (int j = 0; j < kLoads && i + j * width < size; ++j)
      for (int k = 0; k < Count; ++k) sums[k] += weight[j] * vectors[at + k * size + i + j * width];
  }
  for (A& sum : sums) sum = group_sum(sum, width);
}

// sums[k] = sum over i of weight[i, column] * vectors[at + k * rows + i], for every column;
// `finish` is called once for each, by one thread.
//
// The threads of the block are lanes, which run along the columns, times slices, which share the
// rows. A slice leaves its sums at `scratch` (Count * threads elements), from where the first one
// adds them in order.
template <int Count, class A, class T, class Vectors, class Finish>
__device__ __forceinline__ void sum_columns(const T* weight, int rows, int columns, Vectors vectors,
                                            int at, int scratch, Finish finish) {
  constexpr int kMostSlices = 32;
  const int thread = threadIdx.x, threads = blockDim.x;
  int lanes = power_of_two(columns, threads);
  if (lanes * kMostSlices < threads) lanes = threads / kMostSlices;
  const int slices = threads / lanes, lane = thread % lanes, slice = thread / lanes;
  for (int base = 0; base < columns; base += lanes) {
    const int column = base + lane;
    A sums[Count] = {};
    if (column < columns) {
      for (int i = slice; i < rows; i += kLoads * slices) {
        A values[kLoads];
        for (int j = 0; j < kLoads; ++j) {
          const int row = i + j * slices;
          values[j] = row < rows ? A(weight[int64_t(row) * columns + column]) : A(0);
        }
        for (int j = 0; j < kLoads && i + j * slices < rows; ++j)
          for (int k = 0; k < Count; ++k)
            sums[k] += values[j] * vectors[at + k * rows + i + j * slices];
      }
    }
    if (slice > 0)
      for (int k = 0; k < Count; ++k) vectors[scratch + k * threads + thread] = sums[k];
    __syncthreads();
    if (slice == 0 && column < columns) {
      for (int other = thread + lanes; other < threads; other += lanes)
        for (int k = 0; k < Count; ++k) sums[k] += vectors[scratch + k * threads + other];
      finish(column, sums);
    }
    __syncthreads();
  }
}

}  // namespace adarts::cuda
