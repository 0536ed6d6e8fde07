// The phases of the search cell (csrc/cell.h) on the GPU, one launch each unless it says
// otherwise, all by launch_dependent. Nothing is allocated and the host waits for nothing; sums are
// made in a fixed order.
#pragma once

#include <algorithm>

#include "../../cell_math.h"
#include "../../preprocess.h"
#include "../device/portable.cuh"

namespace adarts::cuda {

// What fits in the kernels' shared memory, for the bindings to check.
constexpr int kMostSelected = 256;  // channels of an edge, outputs of a preprocessing's convolution
constexpr int kMostChosen = 128;    // channels of an edge in the backward pass
constexpr int kMostChoices = 1024;  // channels of a state from which scores choose

// In how many parts the phases of a group leave their sums, and the gradient of its weights.
// Depends on the shape only, so sums are the same on all cards.
int64_t parts(const cell::Sizes& sizes);

template <class T>
cudaError_t pool_states(const cell::States<T>& states, cudaStream_t stream);
// In how many parts of the plane `node` leaves the pools of what it makes.
int64_t pool_parts(const cell::Sizes& sizes);
// Scores and, where they choose, their sums, in score_parts parts.
template <class T>
cudaError_t score(const cell::Selection<T>& selection, cudaStream_t stream);
int64_t score_parts(const cell::Sizes& sizes);
// The choice of channels, and the maps.
template <class T>
cudaError_t choose(const cell::Selection<T>& selection, cudaStream_t stream);

template <class T>
cudaError_t first_half(const cell::Group<T>& group, cudaStream_t stream);
template <class T>
cudaError_t second_half(const cell::Group<T>& group, cudaStream_t stream);
// Of both halves, after the second: second_half itself adds up the sums it needs.
template <class T>
cudaError_t finish_norms(const cell::Group<T>& group, cudaStream_t stream);
template <class T>
cudaError_t node(const cell::Node<T>& node, cudaStream_t stream);

template <class T>
cudaError_t node_backward(const cell::Group<T>& group, cudaStream_t stream);
template <class T>
cudaError_t finish_sums(const cell::FinishSums<T>& finish, cudaStream_t stream);
template <class T>
cudaError_t second_half_backward(const cell::Group<T>& group, cudaStream_t stream);
// Adds up the sums of q and q * (u - mean) itself: there is no finish_first. Two launches.
template <class T>
cudaError_t first_half_backward(const cell::Group<T>& group, cudaStream_t stream);
template <class T>
cudaError_t attention_backward(const cell::Group<T>& group, cudaStream_t stream);

constexpr int kStatesAtOnce = 2;

// The gradients of states of one size, with the edges that leave all of them.
template <class T>
struct StatesBackward {
  cell::Group<T> group;
  int count;
  struct One {
    cell::State<T> state;
    int first, end;  // its edges
    const T* grad_out;
    int64_t grad_out_block;
    bool add;
    T* dh;
    int64_t dh_block;
  } one[kStatesAtOnce];

  bool has_room_for(const cell::StateBackward<T>& other) const {
    return count < kStatesAtOnce && group.edges + other.group.edges <= cell::kGroup;
  }
  void take(const cell::StateBackward<T>& other) {
    const int first = group.edges;
    if (count == 0) group = other.group;
    std::copy_n(other.group.edge, other.group.edges, group.edge + first);
    group.edges = first + other.group.edges;
    one[count++] = {other.state,          first,     group.edges, other.grad_out,
                    other.grad_out_block, other.add, other.dh,    other.dh_block};
  }
};

template <class T>
cudaError_t state_backward(const StatesBackward<T>& states, cudaStream_t stream);

constexpr int kMostTables = 32;

// out[begin[k] + i] = sum over the parts of table k[part, i], for several tables: table k has
// begin[k + 1] - begin[k] columns and starts at element parts * begin[k].
template <class A>
struct AddParts {
  const A* partial;
  int64_t parts;
  int tables;
  int64_t begin[kMostTables + 1];
  A* out;
};

template <class A>
cudaError_t add_parts(const AddParts<A>& args, cudaStream_t stream);

// The preprocessings of a cell's inputs. Sums forward are in preprocess_parts parts of each input,
// those of preprocess_sums in preprocess_sum_parts, the weights' gradients in
// preprocess_weight_parts.
template <class T>
int64_t preprocess_parts(const cell::Preprocessings<T>& inputs);
template <class T>
int64_t preprocess_sum_parts(const cell::Preprocessings<T>& inputs);
template <class T>
int64_t preprocess_weight_parts(const cell::Preprocessings<T>& inputs);
template <class T>
cudaError_t preprocess(const cell::Preprocessings<T>& inputs, cudaStream_t stream);
// Finishes the statistics, where they are of the batch, and normalises h in place.
template <class T>
cudaError_t preprocess_normalise(const cell::Preprocessings<T>& inputs, double eps,
                                 cudaStream_t stream);
template <class T>
cudaError_t preprocess_sums(const cell::Preprocessings<T>& inputs, cudaStream_t stream);
// A launch for each of grad_in and grad_weights that an input has; all of a grad_in is written.
template <class T>
cudaError_t preprocess_backward(const cell::Preprocessings<T>& inputs, cudaStream_t stream);

}  // namespace adarts::cuda
