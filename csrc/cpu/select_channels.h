// The k channels with the largest scores summed over the batch, by falling sum.
#pragma once

#include <cstdint>

namespace adarts::cpu {

template <class T>
struct SelectChannels {
  const T* scores;  // (batch, channels)
  int64_t batch;
  int64_t channels;
  int64_t k;
  double* sums;    // scratch, (channels)
  int64_t* order;  // scratch, (channels)
  int64_t* out;    // (k)

  void run() const;
};

}  // namespace adarts::cpu
