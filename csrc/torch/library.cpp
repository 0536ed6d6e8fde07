// The schemas of all operators. A backward operator returns only the gradients asked for, in the
// order of the forward arguments.
#include <torch/csrc/stable/library.h>

#ifndef ADARTS_NAMESPACE  // the tests' emulator registers the same schemas under another name
#define ADARTS_NAMESPACE adarts_ext
#endif

STABLE_TORCH_LIBRARY(ADARTS_NAMESPACE, m) {
  m.def(
      "channel_attention(Tensor x, Tensor w1, Tensor w2) -> "
      "(Tensor scores, Tensor pooled, Tensor hidden, Tensor position)");
  m.def(
      "channel_attention_backward(Tensor grad, Tensor scores, Tensor w1, Tensor w2, "
      "Tensor pooled, Tensor hidden, Tensor position, SymInt height, SymInt width, "
      "bool channels_last, bool needs_x, bool needs_w1, bool needs_w2) -> Tensor[]");

  m.def("select_channels(Tensor scores, SymInt k) -> Tensor");

  m.def("gather_channels(Tensor x, Tensor index, Tensor? scale) -> Tensor");
  m.def(
      "gather_channels_backward(Tensor grad, Tensor? x, Tensor index, Tensor? scale, "
      "SymInt channels, bool needs_x, bool needs_scale) -> Tensor[]");

  m.def(
      "scatter_channels(Tensor x, Tensor index, Tensor update, Tensor? scale, int stride) "
      "-> Tensor");
  m.def(
      "scatter_channels_backward(Tensor grad, Tensor? x, Tensor index, Tensor? scale, "
      "int stride, bool needs_x, bool needs_update, bool needs_scale) -> Tensor[]");

  m.def("mixed_sum(Tensor[] inputs, Tensor weights) -> Tensor");
  m.def(
      "mixed_sum_backward(Tensor grad, Tensor[] inputs, Tensor weights, bool[] needs_inputs, "
      "bool needs_weights) -> Tensor[]");

  // `norms` are given where the running statistics are used, and then no others are returned.
  m.def(
      "normalized_mixed_sum(Tensor[] inputs, Tensor weights, bool[] normalized, Tensor? norms, "
      "float eps) -> (Tensor out, Tensor norms)");
  m.def(
      "normalized_mixed_sum_backward(Tensor grad, Tensor[] inputs, Tensor weights, "
      "bool[] normalized, Tensor norms, bool training, bool[] needs_inputs, bool needs_weights) "
      "-> Tensor[]");

  // Image blocks, see csrc/cell.h. The groups are names of torch.distributed's, empty for this
  // process alone: those that choose channels together, and the `processes` that share statistics.
  // `active` is a mask for each edge, bit o for candidate o; the others
  // have no weights and no statistics. `stored` is empty unless `store`; `norms` are given where
  // the running statistics are used, and then no others are returned.
  m.def(
      "search_cell(Tensor[] states, Tensor weights, Tensor alphas, Tensor? betas, Tensor? index, "
      "Tensor? norms, Tensor? dropout, SymInt batch, int stride, int selected, int hidden, int "
      "nodes, "
      "int[] sources, int[] targets, bool shuffle, int[] active, int taps, bool store, float eps, "
      "str scores_group, str norms_group, int processes) -> "
      "(Tensor nodes, Tensor[] stored, Tensor norms, Tensor scores, Tensor index, Tensor maps, "
      "Tensor pools, Tensor position)");
  m.def(
      "search_cell_backward(Tensor grad, Tensor[] states, Tensor nodes, Tensor weights, "
      "Tensor alphas, Tensor? betas, Tensor[] stored, Tensor norms, Tensor scores, Tensor maps, "
      "Tensor pools, Tensor position, Tensor? dropout, SymInt batch, int stride, int selected, int "
      "hidden, "
      "int[] sources, int[] targets, int[] active, int taps, bool training, float eps, "
      "bool[] needs_states, bool needs_weights, bool needs_alphas, bool needs_betas, str "
      "norms_group, int processes) -> "
      "Tensor[]");

  m.def(
      "preprocess_cell(Tensor[] x, Tensor[] weights, Tensor[] norms, SymInt batch, int[] strides, "
      "float eps, str norms_group, int processes) -> (Tensor[] h, Tensor norms)");
  m.def(
      "preprocess_cell_backward(Tensor[] grads, Tensor[] x, Tensor[] weights, Tensor[] h, "
      "Tensor[] norms, SymInt batch, int[] strides, bool training, bool[] needs_x, "
      "bool needs_weights, str norms_group, int processes) -> Tensor[]");
}
