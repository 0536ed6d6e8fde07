// How pooling and its backward lay a grid of blocks over the planes of feature maps.
#pragma once

#include "tile.cuh"

namespace adarts::cuda {

// Planar memory: the lanes of a plane are those of one warp at most, so that a plane is reduced by
// shuffles alone, and each has kLoads packs to load. A block takes as many channels of an image as
// it has groups of lanes, fewer where there would not be enough blocks; a plane is divided into
// parts where even that leaves too few, but not below 4 * kLoads packs for a lane, for parts must
// be joined. Interleaved memory: as the tiling says.
template <class T>
Tiling<T> plane_tiling(const Map<T>& map, int64_t images, int64_t channels, int64_t pixels,
                       int64_t blocks) {
  const bool interleaved = map.interleaved();
  const bool packs = interleaved ? map.packs_of_channels(channels) : map.packs_of_pixels(pixels);
  Tiling<T> tiling(interleaved, packs, images, channels, pixels, blocks);
  if (interleaved) return tiling;
  const int64_t items = packs ? pixels / kPack<T> : pixels;
  const int lanes = power_of_two(divide_up(items, kLoads));
  int planes = std::min(kThreads / lanes, power_of_two(channels, kThreads));
  while (planes > 1 && images * divide_up(channels, planes) < kEnoughBlocks) planes /= 2;
  planes = std::max(planes, kWarp / lanes);
  const int64_t groups = divide_up(channels, planes);
  const int64_t wanted = divide_up(blocks, std::max<int64_t>(images * groups, 1));
  const int64_t most = std::max<int64_t>(items / (lanes * 4 * kLoads), 1);
  tiling.block = dim3(lanes, planes);
  tiling.grid = dim3(images, groups, std::min(wanted, most));
  return tiling;
}

// The packs (planar) or pixels (interleaved) in one of the parts of a plane.
template <class T>
int part_length(const Tiling<T>& tiling, int64_t pixels) {
  const int64_t items = tiling.packs && !tiling.interleaved ? divide_up(pixels, kPack<T>) : pixels;
  return static_cast<int>(divide_up(items, tiling.grid.z));
}

}  // namespace adarts::cuda
