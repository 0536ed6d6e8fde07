// All phases of the search cell for one x86-64 level. The including file has set the target, named
// the level (ADARTS_LEVEL) and said how many vector registers it has, of how many bytes each
// (ADARTS_REGISTERS, ADARTS_REGISTER_BYTES); what is shared between levels was included before
// that.

namespace adarts::cpu::ADARTS_LEVEL {

using namespace cell;

// Inside the namespace, so that nothing compiled for one level is taken for another; each needs
// what stands before it.
// clang-format off
#include "lanes.h"
#include "skip_dropout.h"
#include "convolve.h"
#include "pools.h"
#include "candidates.h"
#include "candidates_backward.h"
#include "attention.h"
#include "first_half_backward.h"
#include "node.h"
#include "node_backward.h"
#include "preprocess.h"
#include "state.h"
// clang-format on

template <class T>
const CellPhases<T>& phases() {
  static const CellPhases<T> table{pool_state<T>,
                                   score_channels<T>,
                                   first_half<T>,
                                   second_half<T>,
                                   node<T>,
                                   node_backward<T>,
                                   second_half_backward<T>,
                                   first_half_backward<T>,
                                   attention_backward<T>,
                                   state_backward<T>,
                                   preprocess<T>,
                                   preprocess_normalise<T>,
                                   preprocess_sums<T>,
                                   preprocess_backward<T>};
  return table;
}

template const CellPhases<float>& phases();
template const CellPhases<double>& phases();
template const CellPhases<c10::BFloat16>& phases();

}  // namespace adarts::cpu::ADARTS_LEVEL
