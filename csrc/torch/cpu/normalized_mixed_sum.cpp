// normalized_mixed_sum on the CPU: checks, allocation and threads; the loops are in
// csrc/cpu/normalized_mixed_sum.cpp.
#include "../../cpu/normalized_mixed_sum.h"

#include "../normalized_mixed_sum.h"
#include "common.h"

namespace adarts {

namespace {

cpu::Planes planes_of(const Tensor& x) { return {x.size(0), x.size(1), x.size(2) * x.size(3)}; }

// What the loops take of norms (norms, 3, channels): rstd and mean of every input and channel, 1
// and 0 where it is not normalized.
template <class A>
struct Coefficients {
  std::vector<A> rstds, means;

  Coefficients(const std::vector<bool>& normalized, const A* norms, int64_t channels)
      : rstds(normalized.size() * channels, A(1)), means(normalized.size() * channels, A(0)) {
    for (size_t i = 0; i < normalized.size(); ++i) {
      if (!normalized[i]) continue;
      std::copy(norms, norms + channels, means.begin() + i * channels);
      std::copy(norms + channels, norms + 2 * channels, rstds.begin() + i * channels);
      norms += kStatistics * channels;
    }
  }
};

// The batch's statistics of the inputs that are normalized.
template <class T>
void batch_statistics(const std::vector<const T*>& inputs, const std::vector<bool>& normalized,
                      const cpu::Planes& planes, double eps, Accumulate<T>* norms) {
  std::vector<const T*> chosen;
  for (size_t i = 0; i < inputs.size(); ++i)
    if (normalized[i]) chosen.push_back(inputs[i]);
  std::vector<double> partial(chosen.size() * planes.items() * 2);
  const cpu::ChunkMoments<T> kernel{chosen.data(), planes, partial.data()};
  run_parallel(kernel, chosen.size() * planes.items(), 2 * planes.chunk() * planes.pixels);
  for (size_t i = 0; i < chosen.size(); ++i)
    cpu::finish_moments<T>(partial.data() + i * planes.items() * 2, planes, eps,
                           norms + i * kStatistics * planes.channels);
}

std::tuple<Tensor, Tensor> normalized_mixed_sum(const Tensors& inputs, const Tensor& weights,
                                                const std::vector<bool>& normalized,
                                                const OptionalTensor& norms, double eps) {
  constexpr const char* op = "normalized_mixed_sum";
  const auto arguments =
      NormalizedMixedSumArguments::checked(op, inputs, weights, normalized, norms);
  const auto& [out, laid_out, factors, used] = arguments;
  const cpu::Planes planes = planes_of(out);
  const int64_t count = inputs.size();
  dispatch(op, out.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulate<T>;
    const std::vector<const T*> sources = pointers<T>(laid_out);
    if (!norms.has_value()) batch_statistics(sources, normalized, planes, eps, data<A>(used));
    Coefficients<A> coefficients(normalized, data<A>(used), planes.channels);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t c = 0; c < planes.channels; ++c)
        coefficients.rstds[i * planes.channels + c] *= data<A>(factors)[i];
    const cpu::NormalizedMixedSum<T> kernel{
        sources.data(), count, planes, coefficients.rstds.data(), coefficients.means.data(),
        data<T>(out)};
    run_parallel(kernel, planes.images * planes.channels, count * planes.pixels);
  });
  return arguments.results(norms.has_value());
}

Tensors normalized_mixed_sum_backward(const Tensor& grad, const Tensors& inputs,
                                      const Tensor& weights, const std::vector<bool>& normalized,
                                      const Tensor& norms, bool training,
                                      const std::vector<bool>& needs_inputs, bool needs_weights) {
  constexpr const char* op = "normalized_mixed_sum_backward";
  const int64_t count = normalized.size();
  const bool sums = needs_weights || training;
  const auto [laid_out, grad_out, factors, used, gradients] =
      NormalizedMixedSumBackwardArguments::checked(op, grad, inputs, weights, normalized, norms,
                                                   needs_inputs, needs_weights, sums);
  const cpu::Planes planes = planes_of(grad_out);
  const int64_t channels = planes.channels;
  dispatch(op, grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulate<T>;
    std::vector<const T*> sources = pointers<T>(laid_out);
    const Coefficients<A> coefficients(normalized, data<A>(used), channels);
    std::vector<double> totals((1 + count) * channels);  // of g, then of g * (x - mean)
    if (sums) {
      std::vector<double> partial(planes.items() * (1 + count));
      const cpu::ChunkProducts<T> kernel{data<T>(grad_out),         sources.data(), count, planes,
                                         coefficients.means.data(), partial.data()};
      run_parallel(kernel, planes.items(), (1 + count) * planes.chunk() * planes.pixels);
      for (int64_t item = 0; item < planes.items(); ++item)
        for (int64_t i = 0; i <= count; ++i)
          totals[i * channels + item % channels] += partial[item * (1 + count) + i];
    }
    std::vector<cpu::InputGradient<T>> of_channels(count * channels);
    for (int64_t at = 0; at < count * channels; ++at) {
      const A factor = data<A>(factors)[at / channels] * coefficients.rstds[at];
      of_channels[at].factor = factor;
      if (!training || !normalized[at / channels]) continue;
      const double values = planes.values(), rstd = coefficients.rstds[at];
      of_channels[at].offset = A(totals[at % channels] / values);
      of_channels[at].slope = A(-factor * rstd * rstd * totals[channels + at] / values);
      of_channels[at].mean = coefficients.means[at];
    }
    sources.resize(count, nullptr);
    const std::vector<T*> targets = pointers<T>(gradients.inputs);
    const int64_t wanted = std::count(needs_inputs.begin(), needs_inputs.end(), true);
    const cpu::NormalizedMixedSumBackward<T> kernel{
        data<T>(grad_out), sources.data(), count, planes, of_channels.data(), targets.data()};
    if (wanted > 0) run_parallel(kernel, planes.images * channels, 2 * wanted * planes.pixels);
    if (!needs_weights) return;
    for (int64_t i = 0; i < count; ++i) {
      double sum = 0;
      for (int64_t at = i * channels; at < (i + 1) * channels; ++at)
        sum += coefficients.rstds[at] * totals[channels + at];
      data<A>(gradients.weights)[i] = A(sum);
    }
  });
  return gradients.all;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(adarts_ext, CPU, m) {
  m.impl("normalized_mixed_sum", TORCH_BOX(&normalized_mixed_sum));
  m.impl("normalized_mixed_sum_backward", TORCH_BOX(&normalized_mixed_sum_backward));
}

}  // namespace adarts
