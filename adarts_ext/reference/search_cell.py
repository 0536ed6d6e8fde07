"""The search cell in plain torch: the definition of :func:`adarts_ext.ops.search_cell`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from adarts_ext.genotype import PRIMITIVES
from adarts_ext.reference.batch_norms import BatchNorms
from adarts_ext.reference.cell_layout import STATISTICS, CellLayout, CellOutput, is_active
from adarts_ext.reference.channel_attention import channel_attention
from adarts_ext.reference.efficient_channel_attention import efficient_channel_attention
from adarts_ext.reference.gather_channels import gather_channels
from adarts_ext.reference.image_blocks import from_image_blocks, to_image_blocks
from adarts_ext.reference.mixed_sum import mixed_sum
from adarts_ext.reference.preprocess_cell import factorized_reduce
from adarts_ext.reference.scatter_channels import scatter_channels
from adarts_ext.reference.select_channels import select_channels
from adarts_ext.reference.skip_dropout import kept_values


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
    dropout: Tensor | None = None,
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
        dropout: Of the skip connections at stride 1 ``(edges, 2)``, each as
            :func:`~adarts_ext.reference.skip_dropout.kept_values` takes it; None for none.

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
    strides, active = layout.edge_strides(len(states)), layout.edge_active()
    each_weight = iter([weight.to(dtype) for weight in weights])
    norm = BatchNorms(norms, eps)
    chosen = []
    for node in range(layout.nodes):
        entering = [edge for edge, target in enumerate(layout.targets) if target == node]
        outputs = []
        for edge in entering:
            h = maps[layout.sources[edge]]
            scale = None
            if layout.taps:
                scale = efficient_channel_attention(h, next(each_weight))
            elif layout.hidden:
                scale = channel_attention(h, next(each_weight), next(each_weight))
            if index is None:
                chosen.append(select_channels(scale, layout.selected))
            else:
                chosen.append(index[edge])
            x = gather_channels(h, chosen[-1], scale)
            candidates = _candidates(x, each_weight, strides[edge], norm, active[edge])
            if dropout is not None and strides[edge] == 1 and "skip_connect" in candidates:
                candidates["skip_connect"] = x * kept_values(dropout[edge], x)
            mixed = _mix(candidates, alphas[edge].to(dtype), x, strides[edge])
            y = scatter_channels(h, chosen[-1], mixed, scale, strides[edge])
            if layout.shuffle:
                y = y.unflatten(1, (-1, layout.selected)).transpose(1, 2).flatten(1, 2)
            outputs.append(y)
        ones = torch.ones(len(entering), dtype=dtype, device=maps[0].device)
        maps.append(mixed_sum(outputs, ones if betas is None else betas[entering].to(dtype)))
    nodes = torch.cat(maps[len(states) :], dim=1)
    none = (0, STATISTICS, layout.selected)  # where no active candidate has a BatchNorm
    statistics = norm.statistics() if norm.batch or norms is not None else nodes.new_empty(none)
    return CellOutput(to_image_blocks(nodes), statistics, torch.stack(chosen))


def _candidates(
    x: Tensor,
    weights: Iterator[Tensor],
    stride: int,
    norm: Callable[[Tensor], Tensor],
    active: int,
) -> dict[str, Tensor]:
    """Compute the active candidates of an edge but ``none``; weights and norms have their order."""

    def convolve(x: Tensor, stride: int, dilation: int) -> Tensor:
        depthwise, pointwise = next(weights), next(weights)
        padding = dilation * (depthwise.size(-1) // 2)
        x = functional.relu(x)
        x = functional.conv2d(x, depthwise, None, stride, padding, dilation, groups=x.size(1))
        return norm(functional.conv2d(x, pointwise))

    def separable(x: Tensor) -> Tensor:
        return convolve(convolve(x, stride, dilation=1), stride=1, dilation=1)

    def dilated(x: Tensor) -> Tensor:
        return convolve(x, stride, dilation=2)

    def average(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False)

    def skip(x: Tensor) -> Tensor:
        if stride == 1:
            return x
        return norm(factorized_reduce(functional.relu(x), [next(weights), next(weights)]))

    candidates = {
        "max_pool_3x3": lambda x: norm(functional.max_pool2d(x, 3, stride, padding=1)),
        "avg_pool_3x3": lambda x: norm(average(x)),
        "sep_conv_3x3": separable,
        "sep_conv_5x5": separable,
        "dil_conv_3x3": dilated,
        "dil_conv_5x5": dilated,
        "skip_connect": skip,
    }
    return {name: one(x) for name, one in candidates.items() if is_active(active, name)}


def _mix(candidates: dict[str, Tensor], alphas: Tensor, x: Tensor, stride: int) -> Tensor:
    """Sum candidates by their weights, in the order of PRIMITIVES; without any it is 0."""
    if not candidates:
        return torch.zeros_like(x[:, :, ::stride, ::stride])
    chosen = [i for i, name in enumerate(PRIMITIVES) if name in candidates]
    return mixed_sum([candidates[PRIMITIVES[i]] for i in chosen], alphas[chosen])
