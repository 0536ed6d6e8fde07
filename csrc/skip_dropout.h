// Dropout on skip connections (P-DARTS, arXiv 1904.12760, section 3.3): which values are dropped is
// told by a hash of their place, so that nothing has to be kept for backward.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define ADARTS_BOTH_INLINE __host__ __device__ __forceinline__
#else
#define ADARTS_BOTH_INLINE inline __attribute__((always_inline))
#endif

namespace adarts::cell {

// Of an edge: a number that draws, and how many of 2^32 values are dropped. A place is that of a
// value in (blocks, selected channels, pixels, kLanes), modulo 2^32.
struct SkipDropout {
  uint32_t low, high, share;

  ADARTS_BOTH_INLINE explicit SkipDropout(const int64_t* given)
      : low(given == nullptr ? 0 : uint32_t(given[0])),
        high(given == nullptr ? 0 : uint32_t(uint64_t(given[0]) >> 32)),
        share(given == nullptr ? 0 : uint32_t(given[1])) {}

  // Of one place, uint32_t, or of a vector of them: two rounds of multiplying and folding, whose
  // constants are those of Wellons's lowbias32.
  template <class V>
  ADARTS_BOTH_INLINE V hash(V place) const {
    place ^= low;
    place ^= place >> 16;
    place *= 0x7feb352du;
    place += high;
    place ^= place >> 15;
    place *= 0x846ca68bu;
    place ^= place >> 16;
    return place;
  }
};

}  // namespace adarts::cell
