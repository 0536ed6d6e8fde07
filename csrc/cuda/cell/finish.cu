// What the phases of the search cell left in parts is added up, in double and in a fixed order:
// total = sum over parts of partial[part].
//
// Neighbouring threads take neighbouring sums, several share one, and all loads are independent.
// Few bytes, at most some MB a cell: the launch and one chain of reads are the time. No atomics, so
// that the same input always gives the same bits.
#include <cmath>

#include "launchers.cuh"
#include "sums.cuh"

namespace adarts::cuda {

namespace {

constexpr int kSumsThreads = 1024;

// Mean, rstd and variance of every norm. A thread block takes one norm (blockIdx.x) of one edge
// (y): it adds up the two sums of all channels at once. Bytes: 16 * parts for every channel of a
// norm.
template <class T>
__global__ void __launch_bounds__(kCellThreads) finish_norms_kernel(const Group<T> group) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  ADARTS_SHARED(double, totals, 2 * kMostSelected);
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[blockIdx.y];
  const int norm = blockIdx.x, c = int(z.selected);
  if (!edge.active.has_norm(norm)) return;
  ADARTS_ASSERT(c <= kMostSelected);
  const int64_t rows = moment_rows(c);
  total_rows(group.partial + blockIdx.y * group.parts * rows, group.parts, rows, norm * 2 * c,
             2 * c, totals);
  for (int a = threadIdx.x; a < c; a += kCellThreads) {
    const double sum = totals[a], square = totals[c + a];
    const Moments moments(sum, square, z.count());
    A* statistic = edge.statistics(norm, c, a);
    statistic[kMean * c] = A(moments.mean);
    statistic[kRstd * c] = A(1 / std::sqrt(moments.variance + z.eps));
    statistic[kVariance * c] = A(moments.unbiased);
  }
}

// An edge's sums of g and g * (u - mean) and, where they are asked for, d alpha and d beta. A
// thread block takes one edge: it adds up all rows at once, then a warp makes one operation's share
// of d alpha over the channels. Bytes: 8 * parts for every row of sums.
template <class T>
__global__ void __launch_bounds__(kSumsThreads, 1) finish_sums_kernel(const FinishSums<T> finish) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  ADARTS_SHARED(double, totals, sum_rows(kMostChosen));
  ADARTS_SHARED(double, to_beta, kOperations);  // in kNone's place: of the channels that pass by
  const Group<T>& group = finish.group;
  const int e = blockIdx.x, lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  const Edge<T>& edge = group.edge[e];
  const int c = int(group.sizes.selected), rows = int(sum_rows(c));
  ADARTS_ASSERT(c <= kMostChosen);
  total_rows<kSumsThreads>(group.partial + e * group.parts * rows, group.parts, rows, 0, rows,
                           totals);
  for (int row = threadIdx.x; row < kSums * c; row += kSumsThreads) edge.sums[row] = totals[row];
  if (finish.grad_alphas[e] == nullptr && finish.grad_beta[e] == nullptr) return;
  if (warp < kOperations) {
    double sum = 0;  // of g times the operation's output
    const bool counts = warp != kNone && edge.active.has(warp);
    for (int a = lane; counts && a < c; a += kWarp) {
      const double s1 = totals[warp * c + a];
      sum += operation_sum(edge, c, warp, a, s1);
    }
    sum = group_sum(sum);
    if (lane == 0) {
      const double beta = edge.beta == nullptr ? 1 : double(*edge.beta), passing = totals[rows - 1];
      if (finish.grad_alphas[e] != nullptr) finish.grad_alphas[e][warp] = A(beta * sum);
      to_beta[warp] = warp == kNone ? passing : counts ? double(edge.alphas[warp]) * sum : 0;
    }
  }
  __syncthreads();
  if (threadIdx.x > 0 || finish.grad_beta[e] == nullptr) return;
  double total = 0;
  for (int operation = 0; operation < kOperations; ++operation) {
    const double share = to_beta[operation];
    total += share;
  }
  *finish.grad_beta[e] = A(total);
}

constexpr int kColumns = 32;  // of a thread block

// out[i] = sum over the parts of table[part, i]. A warp reads a part of 32 neighbouring columns,
// each of a block's eight warps every eighth part. Bytes: all parts once.
template <class A>
__global__ void __launch_bounds__(kCellThreads, 3) add_parts_kernel(const AddParts<A> args) {
  wait_for_preceding_grid();
  ADARTS_SHARED(double, sums, kCellThreads);
  const int thread = threadIdx.x, warp = thread / kColumns;
  const int64_t column = int64_t(blockIdx.x) * kColumns + thread % kColumns;
  double sum = 0;
  if (column < args.begin[args.tables]) {
    int table = 0;
    while (column >= args.begin[table + 1]) ++table;
    const int64_t first = args.begin[table], columns = args.begin[table + 1] - first;
    const A* from = args.partial + args.parts * first + (column - first);
#pragma unroll 8
    for (int64_t part = warp; part < args.parts; part += kCellThreads / kColumns)
      sum += double(from[part * columns]);
  }
  sums[thread] = sum;
  __syncthreads();
  if (warp > 0 || column >= args.begin[args.tables]) return;
  for (int other = thread + kColumns; other < kCellThreads; other += kColumns) {
    const double share = sums[other];
    sum += share;
  }
  args.out[column] = A(sum);
}

}  // namespace

template <class T>
cudaError_t finish_norms(const Group<T>& group, cudaStream_t stream) {
  int most = 0;  // norms, up to the last one that an edge has
  for (int e = 0; e < group.edges; ++e)
    for (int norm = most; norm < kNorms; ++norm)
      if (group.edge[e].active.has_norm(norm)) most = norm + 1;
  if (most == 0) return cudaSuccess;
  return launch_dependent(finish_norms_kernel<T>, dim3(most, group.edges), dim3(kCellThreads), 0,
                          stream, group);
}

template <class T>
cudaError_t finish_sums(const FinishSums<T>& finish, cudaStream_t stream) {
  return launch_dependent(finish_sums_kernel<T>, dim3(finish.group.edges), dim3(kSumsThreads), 0,
                          stream, finish);
}

template <class A>
cudaError_t add_parts(const AddParts<A>& args, cudaStream_t stream) {
  return launch_dependent(add_parts_kernel<A>, dim3(divide_up(args.begin[args.tables], kColumns)),
                          dim3(kCellThreads), 0, stream, args);
}

#define ADARTS_INSTANTIATE(T)                                       \
  template cudaError_t finish_norms(const Group<T>&, cudaStream_t); \
  template cudaError_t finish_sums(const FinishSums<T>&, cudaStream_t);

ADARTS_INSTANTIATE(float)
ADARTS_INSTANTIATE(double)
ADARTS_INSTANTIATE(c10::BFloat16)
template cudaError_t add_parts(const AddParts<float>&, cudaStream_t);
template cudaError_t add_parts(const AddParts<double>&, cudaStream_t);

}  // namespace adarts::cuda
