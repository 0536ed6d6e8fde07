"""The search cell in plain torch: the definition of :func:`adarts_ext.ops.search_cell`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from adarts_ext.reference.batch_norms import BatchNorms
from adarts_ext.reference.cell_layout import CellLayout, CellOutput
from adarts_ext.reference.channel_attention import channel_attention
from adarts_ext.reference.gather_channels import gather_channels
from adarts_ext.reference.image_blocks import from_image_blocks, to_image_blocks
from adarts_ext.reference.mixed_sum import mixed_sum
from adarts_ext.reference.preprocess_cell import factorized_reduce
from adarts_ext.reference.scatter_channels import scatter_channels
from adarts_ext.reference.select_channels import select_channels


def search_cell(
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    alphas: Tensor,
    betas: Tensor | None,
    layout: CellLayout,
    index: Tensor | None = None,
    norms: Tensor | None = None,
    store: bool = True,
    eps: float = 1e-5,
) -> CellOutput:
    """Compute all nodes of a search cell from its inputs.

    ``node_j = sum over its edges of beta * y``; of an edge that leaves state h (ADARTS,
    arXiv 2208.00791), with M its attention and S the channels selected:
    ``y[S] = sum_o alpha_o * o(M * h[S])``, and the other channels are those of ``M * h``, through a
    2x2 max pool at stride 2.

    Args:
        states: The inputs as image blocks, floating point.
        weights: Of each edge in turn, see :func:`adarts_ext.ops.search_cell`; this definition
            computes with them in the dtype of the states.
        alphas: Weights of the operations ``(edges, 8)``, after the softmax.
        betas: Weights of the edges ``(edges,)``, after the softmax, or None for 1.
        layout: The cell's structure.
        index: Channels selected on each edge ``(edges, c)``; chosen by the scores if None.
        norms: Statistics of every BatchNorm ``(norms, 3, c)`` to use in place of the batch's.
        store: Of no account here: autograd keeps what it needs.
        eps: Of every BatchNorm.

    Example:
        >>> layout = CellLayout(3, 1, 2, 0, 1, (0,), (0,), False)
        >>> weights = [torch.ones(shape) for shape in layout.weight_shapes(inputs=1, channels=4)]
        >>> x = to_image_blocks(torch.ones(3, 4, 8, 8))
        >>> only_skip = torch.eye(8)[3:4]
        >>> out = search_cell([x], weights, only_skip, None, layout, index=torch.tensor([[2, 0]]))
        >>> torch.equal(out.nodes, x)
        True
    """
    dtype = states[0].dtype
    maps = [from_image_blocks(state, layout.batch) for state in states]
    strides = layout.edge_strides(len(states))
    each_weight = iter([weight.to(dtype) for weight in weights])
    norm = BatchNorms(norms, eps)
    chosen = []
    for node in range(layout.nodes):
        entering = [edge for edge, target in enumerate(layout.targets) if target == node]
        outputs = []
        for edge in entering:
            h = maps[layout.sources[edge]]
            scale = None
            if layout.hidden:
                scale = channel_attention(h, next(each_weight), next(each_weight))
            if index is None:
                chosen.append(select_channels(scale, layout.selected))
            else:
                chosen.append(index[edge])
            x = gather_channels(h, chosen[-1], scale)
            candidates = _candidates(x, each_weight, strides[edge], norm)
            mixed = mixed_sum(candidates, alphas[edge, 1:].to(dtype))  # the first candidate is 0
            y = scatter_channels(h, chosen[-1], mixed, scale, strides[edge])
            if layout.shuffle:
                y = y.unflatten(1, (-1, layout.selected)).transpose(1, 2).flatten(1, 2)
            outputs.append(y)
        ones = torch.ones(len(entering), dtype=dtype, device=maps[0].device)
        maps.append(mixed_sum(outputs, ones if betas is None else betas[entering].to(dtype)))
    nodes = torch.cat(maps[len(states) :], dim=1)
    return CellOutput(to_image_blocks(nodes), norm.statistics(), torch.stack(chosen))


def _candidates(
    x: Tensor, weights: Iterator[Tensor], stride: int, norm: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """Compute the candidates of an edge but the first, in order; weights and norms have theirs."""

    def convolve(x: Tensor, stride: int, dilation: int) -> Tensor:
        depthwise, pointwise = next(weights), next(weights)
        padding = dilation * (depthwise.size(-1) // 2)
        x = functional.relu(x)
        x = functional.conv2d(x, depthwise, None, stride, padding, dilation, groups=x.size(1))
        return norm(functional.conv2d(x, pointwise))

    max_pool_3x3 = norm(functional.max_pool2d(x, 3, stride, padding=1))
    avg_pool_3x3 = norm(functional.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False))
    sep_conv_3x3 = convolve(convolve(x, stride, dilation=1), stride=1, dilation=1)
    sep_conv_5x5 = convolve(convolve(x, stride, dilation=1), stride=1, dilation=1)
    dil_conv_3x3 = convolve(x, stride, dilation=2)
    dil_conv_5x5 = convolve(x, stride, dilation=2)
    skip_connect = x
    if stride == 2:
        skip_connect = norm(factorized_reduce(functional.relu(x), [next(weights), next(weights)]))
    return [
        max_pool_3x3,
        avg_pool_3x3,
        skip_connect,
        sep_conv_3x3,
        sep_conv_5x5,
        dil_conv_3x3,
        dil_conv_5x5,
    ]
