// Where in a list of channels a channel stands: the inverse of an index, found by the threads that
// need it, since the host does not know the values.
#pragma once

#include "reduce.cuh"

namespace adarts::cuda {

// The first and the last place of a channel in the index; `first` > `last` where it has none.
struct Places {
  int first;
  int last;

  __device__ __forceinline__ bool any() const { return first <= last; }

  // The place after j, in rising order, of which there is one while j < last.
  __device__ __forceinline__ int next(const int64_t* index, int64_t channel, int j) const {
#pragma unroll 1
    for (++j; j < last; ++j)
      if (index[j] == channel) return j;
    return j;
  }
};

// The places of the channels first_channel ... first_channel + kChannels. `members` threads of a
// warp, `step` lanes apart and a power of two many, look for the same channels and divide the index
// among them. All lanes of a warp must take part.
template <int kChannels>
__device__ __forceinline__ void find_places(const int64_t* index, int k, int64_t channels,
                                            int64_t first_channel, int member, int members,
                                            int step, Places (&places)[kChannels]) {
  for (int i = 0; i < kChannels; ++i) places[i] = {k, -1};
#pragma unroll 1
  for (int j = member; j < k; j += members) {
    const int64_t entry = index[j];
    ADARTS_ASSERT(entry >= 0 && entry < channels);
    for (int i = 0; i < kChannels; ++i) {
      if (entry != first_channel + i) continue;
      places[i].first = places[i].first < j ? places[i].first : j;
      places[i].last = j;
    }
  }
  for (int offset = step; offset < step * members; offset *= 2) {
    for (int i = 0; i < kChannels; ++i) {
      const int first = __shfl_xor_sync(kAllLanes, places[i].first, offset);
      const int last = __shfl_xor_sync(kAllLanes, places[i].last, offset);
      if (first < places[i].first) places[i].first = first;
      if (last > places[i].last) places[i].last = last;
    }
  }
}

// The places of a channel that a row of threads, threadIdx.x, works on.
__device__ __forceinline__ Places find_places_of_row(const int64_t* index, int k, int64_t channels,
                                                     int64_t channel) {
  Places places[1];
  const int lanes = blockDim.x < kWarp ? blockDim.x : kWarp;
  find_places(index, k, channels, channel, threadIdx.x & (lanes - 1), lanes, 1, places);
  return places[0];
}

// The places of neighbouring channels that a column of threads, threadIdx.y, works on.
template <int kChannels>
__device__ __forceinline__ void find_places_of_column(const int64_t* index, int k, int64_t channels,
                                                      int64_t first_channel,
                                                      Places (&places)[kChannels]) {
  const int lanes = blockDim.x < kWarp ? blockDim.x : kWarp;
  find_places(index, k, channels, first_channel, thread_of_block() % kWarp / lanes, kWarp / lanes,
              lanes, places);
}

}  // namespace adarts::cuda
