#include "search_cell.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "vectorize.h"

namespace adarts::cpu {

using namespace cell;

namespace {

// The channels with the largest sums.
void choose(const Sizes& z, const double* sums, int64_t* index) {
  std::vector<int64_t> order(z.channels);
  std::iota(order.begin(), order.end(), int64_t(0));
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return sums[a] > sums[b]; });
  std::copy_n(order.begin(), z.selected, index);
}

}  // namespace

template <class T>
void sum_scores(const Group<T>& group, double* sums) {
  const Sizes& z = group.sizes;
  std::fill_n(sums, group.edges * z.channels, 0.0);
  for (int e = 0; e < group.edges; ++e)
    for (int64_t block = 0; block < z.blocks; ++block)
      for (int64_t i = 0; i < z.channels; ++i)
        for (int64_t lane = 0; lane < z.lanes(block); ++lane)
          sums[e * z.channels + i] += group.edge[e].scale[(block * z.channels + i) * kLanes + lane];
}

template <class T>
void select_channels(const Selection<T>& selection) {
  const Sizes& z = selection.group.sizes;
  const int64_t c = z.selected;
  for (int e = 0; e < selection.group.edges; ++e) {
    const Edge<T>& edge = selection.group.edge[e];
    int64_t* index = selection.index[e];
    if (!selection.given) choose(z, selection.sums + e * z.channels, index);
    for (int64_t r = 0; r < z.channels; ++r) {
      const int64_t q = selection.shuffle ? r % c * (z.channels / c) + r / c : r;
      edge.target[r] = int32_t(-1 - q);
      edge.source[q] = int32_t(-1 - r);
    }
    for (int64_t a = 0; a < c; ++a) {
      const int64_t r = index[a], q = -1 - edge.target[r];
      edge.selected[a] = int32_t(r);
      edge.output[a] = int32_t(q);
      edge.source[q] = edge.target[r] = int32_t(a);
    }
  }
}

// The sum of a row over the parts of an edge.
static double row_sum(const double* partial, int64_t parts, int64_t rows, int64_t e, int64_t row) {
  double sum = 0;
  for (int64_t part = 0; part < parts; ++part) sum += partial[(e * parts + part) * rows + row];
  return sum;
}

// A channel's statistics, `stride` apart.
template <class A>
static void put_statistics(A* statistic, int64_t stride, const Moments& moments, double eps) {
  statistic[kMean * stride] = A(moments.mean);
  statistic[kRstd * stride] = A(1 / std::sqrt(moments.variance + eps));
  statistic[kVariance * stride] = A(moments.unbiased);
}

template <class T>
void finish_norms(const Group<T>& group, Half half) {
  const Sizes& z = group.sizes;
  const int64_t c = z.selected, rows = moment_rows(c);
  for (int e = 0; e < group.edges; ++e)
    for (int norm = 0; norm < kNorms; ++norm) {
      if (!in_half(norm, half) || !group.edge[e].active.has_norm(norm)) continue;
      for (int64_t a = 0; a < c; ++a) {
        const int64_t row = norm * 2 * c + a;
        const Moments moments(row_sum(group.partial, group.parts, rows, e, row),
                              row_sum(group.partial, group.parts, rows, e, row + c), z.count());
        put_statistics(group.edge[e].statistics(norm, c, a), c, moments, z.eps);
      }
    }
}

template <class T>
void finish_sums(const FinishSums<T>& finish) {
  using A = Accumulate<T>;
  const Group<T>& group = finish.group;
  const int64_t c = group.sizes.selected, rows = sum_rows(c);
  for (int e = 0; e < group.edges; ++e) {
    const Edge<T>& edge = group.edge[e];
    for (int64_t i = 0; i < kSums * c; ++i)
      edge.sums[i] = row_sum(group.partial, group.parts, rows, e, i);
    const double beta = edge.beta == nullptr ? 1 : double(*edge.beta);
    double to_beta = row_sum(group.partial, group.parts, rows, e, kSums * c);
    for (int operation = 0; operation < kOperations; ++operation) {
      double sum = 0;  // of g * (output of the operation)
      if (operation != kNone && edge.active.has(operation)) {
        for (int64_t a = 0; a < c; ++a)
          sum += operation_sum(edge, c, operation, a, edge.sums[operation * c + a]);
        to_beta += double(edge.alphas[operation]) * sum;
      }
      if (finish.grad_alphas[e] != nullptr) finish.grad_alphas[e][operation] = A(beta * sum);
    }
    if (finish.grad_beta[e] != nullptr) *finish.grad_beta[e] = A(to_beta);
  }
}

template <class T>
void finish_first(const Group<T>& group) {
  const int64_t rows = first_rows(group.sizes.selected);
  for (int e = 0; e < group.edges; ++e)
    for (int64_t i = 0; i < rows; ++i)
      group.edge[e].first_sums[i] = row_sum(group.partial, group.parts, rows, e, i);
}

template <class T>
void finish_preprocess(const Preprocess<T>& args, double eps) {
  const int64_t channels = args.channels, parts = args.blocks * kBands;
  for (int64_t a = 0; a < channels; ++a) {
    const Moments moments(row_sum(args.partial, parts, 2 * channels, 0, a),
                          row_sum(args.partial, parts, 2 * channels, 0, channels + a),
                          args.count());
    put_statistics(args.norms + a, channels, moments, eps);
  }
}

template <class A>
void add_parts(const A* parts, int64_t count, int64_t rows, A* out) {
  for (int64_t row = 0; row < rows; ++row) {
    double sum = 0;
    for (int64_t part = 0; part < count; ++part) sum += parts[part * rows + row];
    out[row] = A(sum);
  }
}

#define ADARTS_CELL(T)                                \
  template void sum_scores(const Group<T>&, double*); \
  template void select_channels(const Selection<T>&); \
  template void finish_norms(const Group<T>&, Half);  \
  template void finish_sums(const FinishSums<T>&);    \
  template void finish_first(const Group<T>&);        \
  template void finish_preprocess(const Preprocess<T>&, double);
ADARTS_CELL(float)
ADARTS_CELL(double)
ADARTS_CELL(c10::BFloat16)
template void add_parts(const float*, int64_t, int64_t, float*);
template void add_parts(const double*, int64_t, int64_t, double*);

// One table of phases for each level, made in cell/level_<level>.cpp.
#define ADARTS_LEVEL_TABLE(level) \
  namespace level {               \
  template <class T>              \
  const CellPhases<T>& phases();  \
  }
ADARTS_LEVEL_TABLE(baseline)
#if ADARTS_LEVELS
ADARTS_LEVEL_TABLE(x86_64_v3)
ADARTS_LEVEL_TABLE(x86_64_v4)
#endif

template <class T>
const CellPhases<T>& cell_phases() {
#if ADARTS_LEVELS
  if (level() == Level::kV4) return x86_64_v4::phases<T>();
  if (level() == Level::kV3) return x86_64_v3::phases<T>();
#endif
  return baseline::phases<T>();
}

template const CellPhases<float>& cell_phases();
template const CellPhases<double>& cell_phases();
template const CellPhases<c10::BFloat16>& cell_phases();

}  // namespace adarts::cpu
