// The phases of csrc/cell.h on the CPU: each runs a range of tasks. Compiled once for each x86-64
// level from csrc/cpu/cell/ and chosen when first called.
#pragma once

#include "../cell_math.h"
#include "../preprocess.h"

namespace adarts::cpu {

using cell::Group;
using cell::Node;
using cell::Preprocess;
using cell::State;
using cell::StateBackward;

template <class T>
struct CellPhases {
  template <class Arguments>
  using Phase = void (*)(const Arguments&, int64_t begin, int64_t end);

  Phase<State<T>> pool_state;                 // blocks * channels
  Phase<Group<T>> score_channels;             // edges * blocks
  Phase<Group<T>> first_half, second_half;    // edges * blocks
  Phase<Node<T>> node;                        // blocks * channels
  Phase<Group<T>> node_backward;              // edges * blocks
  Phase<Group<T>> second_half_backward;       // edges * blocks
  Phase<Group<T>> first_half_backward;        // edges * blocks
  Phase<Group<T>> attention_backward;         // edges * blocks
  Phase<StateBackward<T>> state_backward;     // blocks * channels
  Phase<Preprocess<T>> preprocess;            // blocks * kBands
  Phase<Preprocess<T>> preprocess_normalise;  // blocks * kBands
  Phase<Preprocess<T>> preprocess_sums;       // blocks * kBands
  Phase<Preprocess<T>> preprocess_backward;   // blocks * kBands
};

// The phases for this machine; float, double and c10::BFloat16.
template <class T>
const CellPhases<T>& cell_phases();

// The phases that finish sums, and the choice of channels: small, for a single thread.
template <class T>
void sum_scores(const Group<T>& group, double* sums);  // (edges, C), over the batch
template <class T>
void select_channels(const cell::Selection<T>& selection);
template <class T>
void finish_norms(const Group<T>& group, cell::Half half);
template <class T>
void finish_sums(const cell::FinishSums<T>& finish);
template <class T>
void finish_first(const Group<T>& group);
template <class T>
void finish_preprocess(const Preprocess<T>& args, double eps);
template <class A>
void add_parts(const A* parts, int64_t count, int64_t rows, A* out);

}  // namespace adarts::cpu
