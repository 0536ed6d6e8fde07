// The search cell and its preprocessing on the CPU: each phase over torch's threads. The order of
// the phases is in csrc/torch/cell/forward.h, the loops are in csrc/cpu/cell/.
#include "../../cpu/search_cell.h"

#include "../cell/operators.h"
#include "../cell/preprocess.h"
#include "common.h"

namespace adarts {

namespace {

template <class T>
struct CpuBackend {
  using A = Accumulate<T>;
  const cpu::CellPhases<T>& phases = cpu::cell_phases<T>();

  template <class Arguments>
  static void run(void (*phase)(const Arguments&, int64_t, int64_t), const Arguments& arguments,
                  int64_t tasks) {
    if (tasks > 0)
      torch::stable::parallel_for(
          0, tasks, 1, [&](int64_t begin, int64_t end) { phase(arguments, begin, end); });
  }
  static int64_t tasks(const cell::Group<T>& group) { return group.edges * group.sizes.blocks; }

  int64_t parts(const cell::Sizes& sizes) const { return sizes.blocks; }

  int64_t scale_parts(const cell::Sizes&) const { return 0; }
  // Two tasks for every thread.
  int edges_at_once(const cell::Sizes& sizes) const {
    const int64_t wanted = 2 * int64_t(torch::stable::get_num_threads());
    return int(std::clamp<int64_t>((wanted + sizes.blocks - 1) / sizes.blocks, 1, cell::kGroup));
  }

  Tensor zeros(const Tensor& like, int64_t elements, ScalarType dtype) const {
    Tensor made = empty_tensor(like, {elements}, dtype);
    std::memset(made.data_ptr(), 0, elements * made.element_size());
    return made;
  }
  // At stride 2 some pixels are not looked at.
  Tensor input_gradient(const Tensor& x, int64_t stride) const {
    Tensor made = empty_tensor_like(x);
    if (stride == 2) std::memset(made.data_ptr(), 0, made.numel() * made.element_size());
    return made;
  }

  void check_sizes(const cell::Sizes&, bool) const {}  // any will do

  void check_index(const char* op, const Tensor& index, int64_t channels, bool given) const {
    if (!given) return;
    const int64_t edges = index.size(0), c = index.size(1);
    for (int64_t e = 0; e < edges; ++e) {
      std::vector<bool> seen(channels);
      for (int64_t a = 0; a < c; ++a) {
        const int64_t r = data<int64_t>(index)[e * c + a];
        ADARTS_CHECK(r >= 0 && r < channels && !seen[r], op, ": index[", e, "][", a, "] is ", r,
                     ", expected different channels below ", channels);
        seen[r] = true;
      }
    }
  }

  void pool_state(const cell::State<T>& state) const {
    run(phases.pool_state, state, state.blocks * state.channels);
  }
  void pool_states(const cell::States<T>& states) const {
    for (int i = 0; i < states.count; ++i) pool_state(states.state[i]);
  }
  int64_t pool_parts(const cell::Sizes&) const { return 0; }
  int64_t score_parts(const cell::Sizes&) const { return 1; }
  void score(const cell::Selection<T>& selection) const {
    run(phases.score_channels, selection.group, tasks(selection.group));
    if (selection.sums != nullptr) cpu::sum_scores(selection.group, selection.sums);
  }
  void choose(const cell::Selection<T>& selection) const { cpu::select_channels(selection); }
  void first_half(const cell::Group<T>& group) const {
    run(phases.first_half, group, tasks(group));
  }
  void second_half(const cell::Group<T>& group) const {
    run(phases.second_half, group, tasks(group));
  }
  void finish_norms(const cell::Group<T>& group, cell::Half half) const {
    cpu::finish_norms(group, half);
  }
  void node(const cell::Node<T>& node) const {
    run(phases.node, node, node.group.sizes.blocks * node.group.sizes.channels);
    if (node.pool) pool_state(node.made);
  }
  void node_backward(const cell::Group<T>& group) const {
    run(phases.node_backward, group, tasks(group));
  }
  void finish_sums(const cell::FinishSums<T>& finish) const { cpu::finish_sums(finish); }
  void second_half_backward(const cell::Group<T>& group) const {
    run(phases.second_half_backward, group, tasks(group));
  }
  void finish_first(const cell::Group<T>& group) const { cpu::finish_first(group); }
  void first_half_backward(const cell::Group<T>& group) const {
    run(phases.first_half_backward, group, tasks(group));
  }
  void attention_backward(const cell::Group<T>& group) const {
    run(phases.attention_backward, group, tasks(group));
  }
  void state_backward(const std::vector<cell::StateBackward<T>>& states) const {
    for (const cell::StateBackward<T>& one : states)
      run(phases.state_backward, one, one.state.blocks * one.state.channels);
  }
  void finish_weights(const CellPlan& plan, const A* parts, A* out) const {
    for (int64_t e = 0; e < plan.edges(); ++e)
      cpu::add_parts(parts + this->parts(plan.sizes) * plan.weights_at[e], this->parts(plan.sizes),
                     plan.weights_of(e), out + plan.weights_at[e]);
  }

  using Inputs = cell::Preprocessings<T>;
  static int64_t bands(const Inputs& inputs) { return inputs.input[0].blocks * cell::kBands; }
  static void run(void (*phase)(const cell::Preprocess<T>&, int64_t, int64_t),
                  const Inputs& inputs) {
    for (int i = 0; i < inputs.count; ++i) run(phase, inputs.input[i], bands(inputs));
  }
  int64_t preprocess_parts(const Inputs& inputs) const { return bands(inputs); }
  int64_t preprocess_sum_parts(const Inputs& inputs) const { return bands(inputs); }
  int64_t preprocess_weight_parts(const Inputs& inputs) const { return bands(inputs); }
  void preprocess(const Inputs& inputs) const { run(phases.preprocess, inputs); }
  void preprocess_normalise(const Inputs& inputs, double eps) const {
    for (int i = 0; i < inputs.count; ++i)
      if (inputs.input[i].training) cpu::finish_preprocess(inputs.input[i], eps);
    run(phases.preprocess_normalise, inputs);
  }
  void preprocess_sums(const Inputs& inputs) const { run(phases.preprocess_sums, inputs); }
  void preprocess_backward(Inputs inputs, A* grad_weights) const {
    for (int i = 0; i < inputs.count; ++i) {
      cell::Preprocess<T>& input = inputs.input[i];
      const int64_t weights = input.channels * input.in_channels;
      std::vector<double> sums(2 * input.channels);
      input.sums = sums.data();
      cpu::add_parts(input.partial, bands(inputs), 2 * input.channels, sums.data());
      run(phases.preprocess_backward, input, bands(inputs));
      if (grad_weights == nullptr) continue;
      cpu::add_parts(input.grad_weights, bands(inputs), weights, grad_weights);
      grad_weights += weights;
    }
  }
};

struct Cpu {
  template <class F>
  static void with_backend(const char* op, const Tensor& like, const F& f) {
    switch (like.scalar_type()) {
      case ScalarType::Float:
        return f(float(), CpuBackend<float>());
      case ScalarType::Double:
        return f(double(), CpuBackend<double>());
      case ScalarType::BFloat16:
        return f(c10::BFloat16(), CpuBackend<c10::BFloat16>());
      default:
        fail(op, ": expected float32, float64 or bfloat16, got dtype number ",
             static_cast<int>(like.scalar_type()));
    }
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(adarts_ext, CPU, m) {
  m.impl("search_cell", TORCH_BOX(&search_cell<Cpu>));
  m.impl("search_cell_backward", TORCH_BOX(&search_cell_backward<Cpu>));
  m.impl("preprocess_cell", TORCH_BOX(&preprocess_cell<Cpu>));
  m.impl("preprocess_cell_backward", TORCH_BOX(&preprocess_cell_backward<Cpu>));
}

}  // namespace adarts
