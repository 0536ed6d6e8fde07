// The search cell in phases, shared by the CPU and the CUDA kernels: sizes, layout, arguments.
//
// All feature maps are image blocks, (blocks, channels, height * width, kLanes): 16 images lie side
// by side, so that a vector (or a few threads) holds one pixel of one channel of all of them. Every
// shift, window and border is then the same for all lanes, and what differs between images, the
// attention's scores, is a vector too. Lanes beyond the batch hold zeros in every stored tensor.
//
// Forward, for each node j, over all its incoming edges e at once (method: arXiv 2208.00791):
//   first_half      x = M * h[selected]; u = pre-BatchNorm outputs of dil_conv_3x3 and _5x5, of the
//                   first halves of sep_conv_3x3 and _5x5 and, at stride 2, of skip_connect; sums
//                   for their batch statistics and those of the two pools
//   finish_norms    mean, rstd and variance from those sums
//   second_half     u of the second halves of the separable convolutions, and their sums
//   node            sum_e beta_e * (BatchNorms, weighted sum; the other channels M * h, pooled),
//                   and the pools of what it makes, where edges leave it
// The inputs get their pools together before all nodes (pool_states). Once a state has them all
// edges that leave it get scores and selection (score, choose).
// Backward, nodes from last to first:
//   node_backward         S0 = sum g, S1_o = sum g * (u_o - mean_o) for each operation; d beta;
//                         d M of the other channels
//   second_half_backward  q = d L / d(BatchNorm output) of the first halves, its sums; d weights
//   first_half_backward   dx = d L / d x; d M of the selected channels; d weights
//   finish_sums, finish_first, finish_weights   add up the parts; d alpha, d beta
//   attention_backward    d weights of the attention, d pools, for all edges that leave a state, or
//                         all inputs
//   state_backward        d L / d h of a state, from all edges that leave it
// A candidate that is not active is left out of all of this: it has no norms, no u and no weights.
// du_o = A_o * (g - S0 / n - u_hat_o * rstd_o * S1_o / n) is a linear combination of g and u_o
// with coefficients per channel (see Gradient); it is never stored.
#pragma once

#include <cstdint>

#include "accumulate.h"
#include "skip_dropout.h"

#if defined(__CUDACC__)
#define ADARTS_BOTH __host__ __device__
#else
#define ADARTS_BOTH
#endif

namespace adarts::cell {

constexpr int kLanes = 16;  // images of a block
constexpr int kGroup = 8;   // edges of one launch

ADARTS_BOTH constexpr int64_t blocks_of(int64_t batch) { return (batch + kLanes - 1) / kLanes; }

// The images of a block.
ADARTS_BOTH constexpr int64_t lanes_of(int64_t batch, int64_t block) {
  return batch - block * kLanes < kLanes ? batch - block * kLanes : int64_t(kLanes);
}

// Operations in the order of PRIMITIVES; none is 0.
enum Operation { kNone, kMaxPool, kAvgPool, kSkip, kSep3, kSep5, kDil3, kDil5, kOperations };
constexpr uint32_t kAllOperations = (1u << kOperations) - 1;

// The BatchNorms of an edge. kNormSkip exists at stride 2 only.
enum Norm {
  kNormMax,
  kNormAvg,
  kNormSep3First,
  kNormSep3,
  kNormSep5First,
  kNormSep5,
  kNormDil3,
  kNormDil5,
  kNormSkip,
  kNorms
};

// Of each norm and channel: mean, 1 / sqrt(variance + eps), unbiased variance.
constexpr int kMean = 0, kRstd = 1, kVariance = 2, kStatistics = 3;

// The operation whose output a norm is, for the five norms whose du is formed from the node's
// gradient by convolutions, the pools, and skip.
ADARTS_BOTH constexpr Norm norm_of(int operation) {
  switch (operation) {
    case kMaxPool:
      return kNormMax;
    case kAvgPool:
      return kNormAvg;
    case kSep3:
      return kNormSep3;
    case kSep5:
      return kNormSep5;
    case kDil3:
      return kNormDil3;
    case kDil5:
      return kNormDil5;
    default:
      return kNormSkip;
  }
}

// The operation that a norm is part of.
ADARTS_BOTH constexpr int operation_of(int norm) {
  constexpr int operations[kNorms] = {kMaxPool, kAvgPool, kSep3, kSep3, kSep5,
                                      kSep5,    kDil3,    kDil5, kSkip};
  return operations[norm];
}

// The planes of Edge::scratch, as far as their candidates are active.
enum ScratchMap {
  kScratchDil3,  // d L / d(depthwise output)
  kScratchDil5,
  kScratchAverage,  // what each pixel of an average pool's window gets
  kScratchMaximum,  // what the winner of a max pool's window gets
  kScratchEven,     // d L / d(input) of the two convolutions of skip_connect at stride 2
  kScratchOdd,
};

// The candidates of an edge that are active, bit o of them operation o, and where each norm of
// theirs is among the edge's.
struct Active {
  uint32_t operations;
  int8_t place[kNorms];  // -1 where there is none
  int8_t pools = 0;      // norms whose input is not stored: they come first
  int8_t norms = 0;

  Active() = default;
  Active(uint32_t bits, int stride) : operations(bits) {
    for (int norm = 0; norm < kNorms; ++norm) {
      place[norm] = -1;
      if (!has(operation_of(norm)) || (norm == kNormSkip && stride == 1)) continue;
      place[norm] = norms++;
      if (norm <= kNormAvg) ++pools;
    }
  }

  ADARTS_BOTH bool has(int operation) const { return operations >> operation & 1; }
  ADARTS_BOTH bool has_norm(int norm) const { return place[norm] >= 0; }
  ADARTS_BOTH bool all() const { return (operations | 1) == kAllOperations; }
  ADARTS_BOTH bool convolves() const { return norms > pools; }  // or reduces
  ADARTS_BOTH int stored() const { return norms - pools; }
  ADARTS_BOTH int stored_place(int norm) const { return place[norm] - pools; }
  // Of the separable convolutions, 3x3 and 5x5: how many, and where each has its q.
  ADARTS_BOTH int separable() const { return has(kSep3) + has(kSep5); }
  ADARTS_BOTH int q_place(int sep) const { return sep == 1 && has(kSep3) ? 1 : 0; }
  ADARTS_BOTH int scratch_place(int map) const {
    const int without_dil3 = map > kScratchDil3 && !has(kDil3);
    const int without_dil5 = map > kScratchDil5 && !has(kDil5);
    return map - without_dil3 - without_dil5 - (map > kScratchMaximum && pools == 0 ? 2 : 0);
  }
  ADARTS_BOTH int scratch_maps() const {
    return scratch_place(kScratchEven) + (has_norm(kNormSkip) ? 2 : 0);
  }
};

// Where the weights of an edge begin in its part of the flat weights. Attention: w1 (hidden, C),
// w2 (C, hidden), absent where hidden is 0; or the taps of its convolution. Convolutions: depthwise
// (c, k, k), pointwise (c, c). Skip at stride 2: two (c / 2, c). Those of candidates that are not
// active are absent.
struct EdgeWeights {
  int64_t channels, selected, hidden, taps;
  uint32_t active;

  ADARTS_BOTH int64_t w1() const { return 0; }
  ADARTS_BOTH int64_t w2() const { return hidden * channels; }
  ADARTS_BOTH int64_t convolutions() const { return 2 * hidden * channels + taps; }
  ADARTS_BOTH int64_t block(int kernel) const { return selected * (kernel * kernel + selected); }
  // Of each convolution of an operation, 0 where it is not active.
  ADARTS_BOTH int64_t block_of(int operation, int kernel) const {
    return active >> operation & 1 ? block(kernel) : 0;
  }
  // The depthwise weights of the convolution that a norm follows; the pointwise ones follow them.
  ADARTS_BOTH int64_t depthwise(int norm) const {
    const int64_t sep3 = block_of(kSep3, 3), sep5 = block_of(kSep5, 5), first = convolutions();
    switch (norm) {
      case kNormSep3First:
        return first;
      case kNormSep3:
        return first + sep3;
      case kNormSep5First:
        return first + 2 * sep3;
      case kNormSep5:
        return first + 2 * sep3 + sep5;
      case kNormDil3:
        return first + 2 * sep3 + 2 * sep5;
      default:
        return first + 2 * sep3 + 2 * sep5 + block_of(kDil3, 3);  // kNormDil5
    }
  }
  ADARTS_BOTH int64_t pointwise(int norm, int kernel) const {
    return depthwise(norm) + selected * kernel * kernel;
  }
  ADARTS_BOTH int64_t skip() const { return depthwise(kNormDil5) + block_of(kDil5, 5); }
  ADARTS_BOTH int64_t count(int stride) const {
    return skip() + (stride == 2 && active >> kSkip & 1 ? selected * selected : 0);
  }
};

struct Sizes {
  int64_t batch;     // N
  int64_t blocks;    // ceil(N / kLanes)
  int64_t channels;  // C of a state
  int64_t selected;  // c
  int64_t hidden;    // of an attention by CBAM, else 0
  int64_t taps;      // of an attention by a convolution over the channels (ECA), else 0
  int64_t height;    // of the nodes; a state at stride 2 is twice as high and wide
  int64_t width;
  bool training;  // batch statistics, else running ones
  double eps;
  int64_t processes;  // whose images of each the statistics are of, all with as many

  ADARTS_BOTH bool attends() const { return hidden > 0 || taps > 0; }
  ADARTS_BOTH int64_t pixels() const { return height * width; }
  ADARTS_BOTH int64_t count() const {  // values of a statistic
    return batch * height * width * processes;
  }
  ADARTS_BOTH EdgeWeights weights(const Active& active) const {
    return {channels, selected, hidden, taps, active.operations};
  }
  ADARTS_BOTH int64_t lanes(int64_t block) const { return lanes_of(batch, block); }
};

// Sums of g * (u - mean) over the batch for each selected channel, by operation (of g * x for the
// identity); kNone's place holds sum g.
constexpr int kSums = kOperations;

template <class T>
struct Edge {
  using A = Accumulate<T>;
  int stride;
  Active active;
  const T* state;  // h, (., C, in pixels, kLanes), its blocks state_block elements apart
  int64_t state_block;
  const A* pools;          // of the state, (2, blocks, C, kLanes): average, maximum; or null
  A* scale;                // M, (blocks, C, kLanes), or null for 1
  int32_t* selected;       // (c), the channels chosen
  int32_t* output;         // (c), the output channels they go to
  int32_t* source;         // (C), of an output channel: its place a among the chosen, or -1 - r
                           // where it is channel r of the state passing by
  int32_t* target;         // (C), of a channel r of the state: a, or -1 - output channel
  const A* weights;        // see EdgeWeights
  const A* alphas;         // (8), after the softmax
  const A* beta;           // (1), after the softmax, or null for 1
  const int64_t* dropout;  // (2), of skip_connect at stride 1: see SkipDropout; or null for none
  T* u;                    // (active.stored(), blocks, c, pixels, kLanes), by stored_place
  A* norms;                // (active.norms, kStatistics, c)

  // Backward only.
  const T* grad;  // g of the target node, its blocks grad_block elements apart
  int64_t grad_block;
  double* sums;        // (kSums, c)
  double* first_sums;  // (2, 2, c), CPU only: sep 3 and 5; sum q, sum q * (u - mean)
  T* q;                // (active.separable(), blocks, c, pixels, kLanes), by q_place
  T* dx;               // (blocks, c, in pixels, kLanes)
  A* grad_scale;       // (blocks, C, kLanes), or null where nobody asks
  A* grad_pools;       // (2, blocks, C, kLanes): d average, d maximum; or null
  A* grad_weights;     // (parts, weights of the edge), added to; or null

  // CUDA only: what one launch of first_half_backward leaves for the next, and it for
  // attention_backward: sums of dx * h.
  double* scale_parts;  // (parts, c, kLanes)
  T* scratch;           // (active.scratch_maps(), blocks, c, pixels, kLanes), by scratch_place
  uint8_t* winner;      // (blocks, c, pixels, kLanes), of max_pool_3x3: which of its nine pixels

  // The statistics of a norm's channel a, c apart.
  ADARTS_BOTH A* statistics(int norm, int64_t c, int64_t a) const {
    return norms + active.place[norm] * kStatistics * c + a;
  }
};

// The edges of one launch. What is summed over the batch is left in parts, each the work of one
// task or thread block, and added up in a fixed order by the finish_ phase that follows.
template <class T>
struct Group {
  Sizes sizes;
  int edges;
  Edge<T> edge[kGroup];
  int64_t parts;
  double* partial;  // (edges, parts, rows of the phase)
};

// Rows of `partial`: first and second half (kNorms, 2, c), sum u and sum u^2; node_backward
// (kSums, c) and one more for d beta of the channels that pass by; second_half_backward (2, 2, c).
ADARTS_BOTH constexpr int64_t moment_rows(int64_t c) { return kNorms * 2 * c; }
ADARTS_BOTH constexpr int64_t sum_rows(int64_t c) { return kSums * c + 1; }
ADARTS_BOTH constexpr int64_t first_rows(int64_t c) { return 4 * c; }

// Pools of a state: (blocks, channels, kLanes) each; the position of the first maximum.
template <class T>
struct State {
  using A = Accumulate<T>;
  int64_t blocks, channels, height, width;
  const T* h;
  int64_t h_block;
  A* average;  // maximum follows
  A* maximum;
  int32_t* position;

  // CUDA only: what `node` leaves for `score`, sums and maxima and their positions in parts of the
  // plane, (parts, blocks, channels, kLanes) each; or null.
  A* part_sums;  // part_maxima follow
  A* part_maxima;
  int32_t* part_positions;
};

// The node of a group's edges, (blocks, C, pixels, kLanes).
template <class T>
struct Node {
  Group<T> group;
  T* out;
  int64_t out_block;
  bool add;       // to what `out` holds: a second group of edges
  bool pool;      // the node is complete, and its pools are asked for
  State<T> made;  // the node
};

// Several states that are there at the same time, all of one size.
template <class T>
struct States {
  int count;
  State<T> state[kGroup];
};

// Chooses the c channels of each edge whose scores, summed over the batch, are largest (by falling
// sum, ties to the lower index) unless they are given, and fills in the edges' maps.
template <class T>
struct Selection {
  Group<T> group;
  State<T> state;          // that all the edges leave, where its pools are still in parts
  int64_t* index[kGroup];  // (c) each
  double* sums;            // (edges, parts, C), of the scores over the batch; null where `given`
  bool given;
  bool shuffle;  // PC-DARTS: output channel q * K + k is channel k * c + q before the shuffle
};

// Which norms a finish_norms phase is about.
enum Half { kFirstHalf, kSecondHalf };
ADARTS_BOTH constexpr bool in_half(int norm, Half half) {
  return (norm == kNormSep3 || norm == kNormSep5) == (half == kSecondHalf);
}

// From the parts of node_backward: each edge's sums, d alpha and d beta.
template <class T>
struct FinishSums {
  using A = Accumulate<T>;
  Group<T> group;
  A* grad_alphas[kGroup];  // (8) each, or null
  A* grad_beta[kGroup];    // (1) each, or null
};

// dh = grad_out + what comes back through the edges that leave the state.
template <class T>
struct StateBackward {
  State<T> state;
  Group<T> group;     // the edges that leave the state; each with the g of its target node
  const T* grad_out;  // gradient of the state itself, or null
  int64_t grad_out_block;
  bool add;  // to what dh holds, in place of grad_out: a second group of edges
  T* dh;     // (blocks, channels, pixels, kLanes)
  int64_t dh_block;
};

}  // namespace adarts::cell
