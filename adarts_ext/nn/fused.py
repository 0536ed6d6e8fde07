"""From the modules of a search cell to the fused operators, and where those do not serve.

A dtype or a device that the fused kernels do not know, or modules that are not as they were built
(see :mod:`adarts_ext.nn.built`), make a cell run operator by operator instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from adarts_ext import _library
from adarts_ext.ops._common import CELL_DTYPES, accumulate_dtype
from adarts_ext.ops.image_blocks import from_image_blocks, to_image_blocks
from adarts_ext.ops.preprocess_cell import preprocess_cell
from adarts_ext.ops.search_cell import CellLayout, search_cell

#: Channels of an edge that the fused kernels serve; more run faster through ordinary convolutions.
MOST_SELECTED = 64


class ImageBlocks(NamedTuple):
    """A feature map as fused cells hand it on: ``blocks`` (ceil(N / 16), C, H, W, 16) and N.

    See :func:`adarts_ext.ops.to_image_blocks`; ``from_image_blocks(*x)`` is the feature map.

    Example:
        >>> lay_out(torch.zeros(5, 3, 8, 8)).feature_shape
        (5, 3, 8, 8)
    """

    blocks: Tensor
    batch: int

    @property
    def feature_shape(self) -> tuple[int, int, int, int]:
        """The shape (N, C, H, W) of the feature map."""
        return self.batch, *self.blocks.shape[1:4]


def lay_out(x: Tensor | ImageBlocks) -> ImageBlocks:
    """Give image blocks, in the dtype that the fused kernels compute them in."""
    if isinstance(x, ImageBlocks):
        return x
    return ImageBlocks(to_image_blocks(x.to(compute_dtype(x))), x.size(0))


def feature_map(x: Tensor | ImageBlocks) -> Tensor:
    """Give the feature map (N, C, H, W)."""
    return from_image_blocks(*x) if isinstance(x, ImageBlocks) else x


def global_average(x: ImageBlocks) -> Tensor:
    """Average every plane: (N, C), in the dtype sums are made in."""
    average = x.blocks.mean(dim=(2, 3), dtype=accumulate_dtype(x.blocks.dtype))  # (blocks, C, 16)
    # Contiguous, as matrix products of transposed inputs are up to 1.4 times as wrong.
    return average.transpose(1, 2).flatten(0, 1)[: x.batch].contiguous()


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of states under autocast, else that of x.

    bfloat16 is stored where autocast asks for it; float16, which the kernels do not store, becomes
    float32, as for all operations that autocast keeps exact.
    """
    device = x.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    if x.dtype == torch.float64 or not autocast:
        return x.dtype
    dtype = torch.get_autocast_dtype(device)
    return torch.bfloat16 if dtype == torch.bfloat16 else torch.float32


def unserved(x: Tensor | ImageBlocks) -> str | None:
    """Say why the fused kernels cannot take this input, or None."""
    if isinstance(x, ImageBlocks):
        return None
    if not _library.has_kernels(x):
        return f"no kernels for {x.device.type}"
    if compute_dtype(x) not in CELL_DTYPES:
        return f"{x.dtype} is not float32, float64 or bfloat16"
    if x.numel() == 0:
        return "the input is empty"
    return None


def unserved_kind(backend: str, selected_channels: int) -> str | None:
    """Say why the fused kernels do not compute mixed operations of this kind, or None."""
    if backend != "fused":
        return f"backend is {backend}"
    if selected_channels > MOST_SELECTED:
        return f"{selected_channels} selected channels are over {MOST_SELECTED}"
    return None


def kernels(reason: str | None) -> str:
    """Name the kernels that run, given the reason against the fused ones."""
    return f"operator by operator ({reason})" if reason else "fused cell"


#: BatchNorms and the statistics of the batch they have seen, (norms, 3, C).
Updates = list[tuple[Sequence[nn.BatchNorm2d], Tensor]]


class Layers(NamedTuple):
    """The layers below a module that the fused kernels stand for, in their order."""

    convolutions: list[nn.Conv2d]
    norms: list[nn.BatchNorm2d]

    @classmethod
    def below(cls, parts: Iterable[nn.Module]) -> Layers:
        """Find the convolutions and BatchNorms in some modules."""
        layers = [layer for part in parts for layer in part.modules()]
        return cls(
            [layer for layer in layers if isinstance(layer, nn.Conv2d)],
            [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)],
        )

    @classmethod
    def join(cls, several: Iterable[Layers]) -> Layers:
        """Put the layers of several modules one after another."""
        convolutions, norms = zip(*several, strict=True)
        return cls([*itertools.chain(*convolutions)], [*itertools.chain(*norms)])


def unserved_norms(norms: Sequence[nn.BatchNorm2d]) -> str | None:
    """Say why the kernels cannot treat BatchNorms alike, or None."""
    first = norms[0]
    expected = first.eps, first.momentum, first.training
    if first.momentum is None or any(norm._buffers["running_mean"] is None for norm in norms):
        return "a BatchNorm keeps other running statistics"
    if any((norm.eps, norm.momentum, norm.training) != expected for norm in norms):
        return "the BatchNorms differ"
    return None


def mix(
    layers: Layers,
    states: Sequence[ImageBlocks],
    alphas: Tensor,
    betas: Tensor | None,
    layout: CellLayout,
    index: Tensor | None,
    store: bool,
    updates: Updates,
) -> ImageBlocks:
    """Run the nodes of a cell on states that are laid out."""
    norms = layers.norms
    training = norms[0].training
    out = search_cell(
        [state.blocks for state in states],
        [convolution.weight for convolution in layers.convolutions],
        alphas,
        betas,
        layout,
        index,
        None if training else running_statistics(norms),
        store,
        norms[0].eps,
    )
    if training:
        updates.append((norms, out.norms))
    return ImageBlocks(out.nodes, layout.batch)


def preprocess(layers: Layers, x: ImageBlocks, updates: Updates) -> ImageBlocks:
    """Run a cell's preprocessing on an input that is laid out."""
    (norm,) = layers.norms
    weights, *more = [convolution.weight.flatten(1) for convolution in layers.convolutions]
    if more:
        weights = torch.cat([weights, *more])
    stride = len(layers.convolutions)  # FactorizedReduce has two of them
    given = None if norm.training else running_statistics([norm])[0]
    h, statistics = preprocess_cell(x.blocks, weights, x.batch, stride, given, norm.eps)
    if norm.training:
        updates.append((layers.norms, statistics[None]))
    return ImageBlocks(h, x.batch)


def running_statistics(norms: Sequence[nn.BatchNorm2d]) -> Tensor:
    """Stack what the kernels take in place of the batch's statistics: (norms, 3, C)."""
    mean = torch.stack([norm.running_mean for norm in norms])
    variance = torch.stack([norm.running_var for norm in norms])
    dtype = accumulate_dtype(mean.dtype)
    mean, variance = mean.to(dtype), variance.to(dtype)
    return torch.stack([mean, (variance + norms[0].eps).rsqrt(), variance], dim=1)


def update_running_statistics(updates: Updates) -> None:
    """Move running statistics towards the batch's as BatchNorm does, all in a few kernels.

    Those of one momentum go together; see :func:`unserved_norms` for what norms have in common. As
    in BatchNorm, a count of batches may be None: :mod:`adarts_ext.nn.recompute` makes use of it.
    """
    with torch.no_grad():
        for momentum in {some[0].momentum for some, _ in updates}:
            norms, running, batch = [], [], []
            for some, statistics in updates:
                if some[0].momentum != momentum:
                    continue
                norms.extend(some)
                mean, _, variance = statistics.to(some[0].running_mean.dtype).unbind(1)
                running.extend(norm.running_mean for norm in some)
                batch.extend(mean.unbind())
                running.extend(norm.running_var for norm in some)
                batch.extend(variance.unbind())
            torch._foreach_lerp_(running, batch, momentum)
            counts = [norm.num_batches_tracked for norm in norms]
            counts = [count for count in counts if count is not None]
            if counts:
                torch._foreach_add_(counts, 1)
