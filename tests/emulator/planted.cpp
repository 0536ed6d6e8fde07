#include "planted.h"

#include <functional>
#include <map>
#include <utility>

#include "faulty_kernels.cuh"
#include "right_kernels.cuh"

namespace planted {

namespace {

using namespace adarts::cuda;

template <class T>
T value_of(const Argument& argument) {
  if constexpr (std::is_pointer_v<T>)
    return static_cast<T>(argument.memory);
  else
    return static_cast<T>(argument.number);
}

using Run = std::function<void(dim3, dim3, size_t, const std::vector<Argument>&)>;

template <class... Parameters>
Run runs(void (*kernel)(Parameters...)) {
  return [kernel](dim3 grid, dim3 block, size_t shared_bytes, const std::vector<Argument>& given) {
    [&]<size_t... I>(std::index_sequence<I...>) {
      launch(kernel, grid, block, shared_bytes, nullptr, value_of<Parameters>(given.at(I))...);
    }(std::index_sequence_for<Parameters...>());
  };
}

#define KERNEL(name) {#name, runs(name)}

const std::map<std::string, Run> kernels = {
    KERNEL(block_sum),
    KERNEL(shuffle<int>),
    KERNEL(shuffle<unsigned>),
    KERNEL(shuffle<long long>),
    KERNEL(shuffle<float>),
    KERNEL(shuffle<double>),
    KERNEL(group_sums),
    KERNEL(votes),
    KERNEL(reverse),
    KERNEL(histogram),
    KERNEL(coordinates),
    KERNEL(order),
    KERNEL(neighbours),
    KERNEL(warp_tree),
    KERNEL(broadcast_twice),
    KERNEL(missing_barrier),
    KERNEL(missing_second_barrier),
    KERNEL(two_writers),
    KERNEL(missing_syncwarp),
    KERNEL(syncwarp_across_warps),
    KERNEL(atomic_and_plain),
    KERNEL(misaligned_load),
    KERNEL(misaligned_store),
    KERNEL(shared_out_of_bounds),
    KERNEL(dynamic_out_of_bounds),
    KERNEL(unwritten),
    KERNEL(divergent_shuffle),
    KERNEL(two_shuffles),
    KERNEL(mask_without_self),
    KERNEL(different_masks),
    KERNEL(source_outside_mask),
    KERNEL(mask_without_lanes),
    KERNEL(wrong_width),
    KERNEL(divergent_barrier),
    KERNEL(two_barriers),
    KERNEL(deadlock),
    KERNEL(failing_assertion),
    KERNEL(static_too_large),
    KERNEL(blocks_write_one),
    KERNEL(block_reads_another),
    KERNEL(block_reads_an_atomic),
    KERNEL(unwritten_global),
    KERNEL(global_out_of_bounds),
    KERNEL(local_out_of_bounds),
    KERNEL(overflow),
};

}  // namespace

void run(const std::string& kernel, const Dimensions& grid, const Dimensions& block,
         size_t shared_bytes, const std::vector<Argument>& arguments) {
  kernels.at(kernel)(dim3(grid[0], grid[1], grid[2]), dim3(block[0], block[1], block[2]),
                     shared_bytes, arguments);
}

void allow_shared(size_t bytes) { adarts::cuda::allow_shared(reverse, bytes); }

}  // namespace planted
