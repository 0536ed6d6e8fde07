// The search cell and its preprocessing on the GPU: launches and the memory that they need. The
// order of the phases is in csrc/torch/cell/forward.h, the kernels are in csrc/cuda/cell/*.cu.
#include "../../cuda/cell/launchers.cuh"
#include "../cell/operators.h"
#include "../cell/preprocess.h"
#include "common.h"

namespace adarts {

namespace {

template <class T>
class CudaBackend {
 public:
  using A = Accumulate<T>;

  CudaBackend(const char* op, const Tensor& like) : op_(op), like_(like), stream_(like) {}

  int64_t parts(const cell::Sizes& sizes) const { return cuda::parts(sizes); }
  int64_t scale_parts(const cell::Sizes& sizes) const {
    return cuda::parts(sizes) * sizes.selected * kLanes;
  }
  int edges_at_once(const cell::Sizes&) const { return cell::kGroup; }

  Tensor zeros(const Tensor& like, int64_t elements, ScalarType dtype) const {
    Tensor made = empty_tensor(like, {elements}, dtype);
    return torch::stable::zero_(made);
  }
  Tensor input_gradient(const Tensor& x, int64_t) const { return empty_tensor_like(x); }

  // The values are checked by the kernel that reads them.
  void check_index(const char*, const Tensor&, int64_t, bool) const {}

  void check_sizes(const cell::Sizes& sizes, bool backward) const {
    at_most("channels", sizes.channels, cuda::kMostChoices);
    at_most("selected channels", sizes.selected,
            backward ? cuda::kMostChosen : cuda::kMostSelected);
    at_most("values of 16 images of a node", sizes.channels * sizes.pixels() * kLanes, INT32_MAX);
  }

  void pool_states(const cell::States<T>& states) const {
    check(cuda::pool_states(states, stream_));
  }
  int64_t pool_parts(const cell::Sizes& sizes) const { return cuda::pool_parts(sizes); }
  int64_t score_parts(const cell::Sizes& sizes) const { return cuda::score_parts(sizes); }
  void score(const cell::Selection<T>& selection) const { check(cuda::score(selection, stream_)); }
  void choose(const cell::Selection<T>& selection) const {
    check(cuda::choose(selection, stream_));
  }
  void first_half(const cell::Group<T>& group) const { check(cuda::first_half(group, stream_)); }
  void second_half(const cell::Group<T>& group) const { check(cuda::second_half(group, stream_)); }
  void finish_norms(const cell::Group<T>& group, cell::Half half) const {
    if (half == cell::kSecondHalf) check(cuda::finish_norms(group, stream_));
  }
  void node(const cell::Node<T>& node) const { check(cuda::node(node, stream_)); }

  void node_backward(const cell::Group<T>& group) const {
    check(cuda::node_backward(group, stream_));
  }
  void finish_sums(const cell::FinishSums<T>& finish) const {
    check(cuda::finish_sums(finish, stream_));
  }
  void second_half_backward(const cell::Group<T>& group) const {
    check(cuda::second_half_backward(group, stream_));
  }
  void finish_first(const cell::Group<T>&) const {}  // first_half_backward does it
  void first_half_backward(const cell::Group<T>& group) const {
    with_scratch(group, [&](const cell::Group<T>& with) {
      check(cuda::first_half_backward(with, stream_));
    });
  }
  void attention_backward(const cell::Group<T>& group) const {
    check(cuda::attention_backward(group, stream_));
  }
  void state_backward(const std::vector<cell::StateBackward<T>>& states) const {
    cuda::StatesBackward<T> some{};
    for (const cell::StateBackward<T>& one : states) {
      if (!some.has_room_for(one)) {
        check(cuda::state_backward(some, stream_));
        some = {};
      }
      some.take(one);
    }
    if (some.count > 0) check(cuda::state_backward(some, stream_));
  }
  void finish_weights(const CellPlan& plan, const A* parts, A* out) const {
    for (int64_t first = 0; first < plan.edges(); first += cuda::kMostTables) {
      const int64_t start = plan.weights_at[first];
      cuda::AddParts<A> args{
          parts + this->parts(plan.sizes) * start, this->parts(plan.sizes), 0, {0}, out + start};
      for (int64_t e = first; e < plan.edges() && args.tables < cuda::kMostTables; ++e)
        args.begin[++args.tables] = plan.weights_at[e] - start + plan.weights_of(e);
      check(cuda::add_parts(args, stream_));
    }
  }

  using Inputs = cell::Preprocessings<T>;
  int64_t preprocess_parts(const Inputs& inputs) const { return cuda::preprocess_parts(inputs); }
  int64_t preprocess_sum_parts(const Inputs& inputs) const {
    return cuda::preprocess_sum_parts(inputs);
  }
  int64_t preprocess_weight_parts(const Inputs& inputs) const {
    return cuda::preprocess_weight_parts(inputs);
  }
  void preprocess(const Inputs& inputs) const {
    for (int i = 0; i < inputs.count; ++i) {
      const cell::Preprocess<T>& a = inputs.input[i];
      at_most("values of 16 images of a channel", a.pixels() * a.stride * a.stride * kLanes,
              INT32_MAX);
    }
    check(cuda::preprocess(inputs, stream_));
  }
  void preprocess_normalise(const Inputs& inputs, double eps) const {
    check(cuda::preprocess_normalise(inputs, eps, stream_));
  }
  void preprocess_sums(const Inputs& inputs) const {
    check(cuda::preprocess_sums(inputs, stream_));
  }
  void preprocess_backward(const Inputs& inputs, A* grad_weights) const {
    for (int i = 0; i < inputs.count; ++i)
      at_most("channels of a convolution", inputs.input[i].channels / inputs.input[i].stride,
              cuda::kMostSelected);
    check(cuda::preprocess_backward(inputs, stream_));
    if (grad_weights == nullptr) return;
    cuda::AddParts<A> args{inputs.input[0].grad_weights,
                           cuda::preprocess_weight_parts(inputs),
                           inputs.count,
                           {0},
                           grad_weights};
    for (int i = 0; i < inputs.count; ++i)
      args.begin[i + 1] = args.begin[i] + inputs.input[i].channels * inputs.input[i].in_channels;
    check(cuda::add_parts(args, stream_));
  }

 private:
  void check(cudaError_t error) const { check_launch(op_, error); }

  // Said here, since an assertion in a kernel leaves a GPU that no call can use any more.
  void at_most(const char* what, int64_t count, int64_t most) const {
    ADARTS_CHECK(count <= most, op_, ": got ", count, " ", what, ", expected at most ", most,
                 " on a GPU");
  }

  // Calls f with the group and memory for what first_half_backward's first launch leaves for the
  // next.
  template <class F>
  void with_scratch(cell::Group<T> group, const F& f) const {
    const cell::Sizes& z = group.sizes;
    const int64_t plane = z.blocks * z.selected * z.pixels() * kLanes;
    int64_t maps = 0;
    for (int e = 0; e < group.edges; ++e) maps += group.edge[e].active.scratch_maps();
    const int64_t bytes = maps * plane * int64_t(sizeof(T)) + group.edges * plane;
    const Tensor memory = empty_tensor(like_, {bytes}, ScalarType::Byte);
    T* next = data<T>(memory);
    uint8_t* winner = reinterpret_cast<uint8_t*>(next + maps * plane);
    for (int e = 0; e < group.edges; ++e) {
      group.edge[e].scratch = next;
      next += group.edge[e].active.scratch_maps() * plane;
      group.edge[e].winner = winner + e * plane;
    }
    f(group);
  }

  const char* op_;
  Tensor like_;
  DeviceStream stream_;
};

struct Cuda {
  template <class F>
  static void with_backend(const char* op, const Tensor& like, const F& f) {
    switch (like.scalar_type()) {
      case ScalarType::Float:
        return f(float(), CudaBackend<float>(op, like));
      case ScalarType::Double:
        return f(double(), CudaBackend<double>(op, like));
      case ScalarType::BFloat16:
        return f(c10::BFloat16(), CudaBackend<c10::BFloat16>(op, like));
      default:
        fail(op, ": expected float32, float64 or bfloat16, got dtype number ",
             static_cast<int>(like.scalar_type()));
    }
  }
};

}  // namespace

ADARTS_CUDA_OPERATORS(m) {
  m.impl("search_cell", TORCH_BOX(&search_cell<Cuda>));
  m.impl("search_cell_backward", TORCH_BOX(&search_cell_backward<Cuda>));
  m.impl("preprocess_cell", TORCH_BOX(&preprocess_cell<Cuda>));
  m.impl("preprocess_cell_backward", TORCH_BOX(&preprocess_cell_backward<Cuda>));
}

}  // namespace adarts
