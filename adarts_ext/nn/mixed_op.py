"""The mixed operation of one edge of a search cell, on a part of the channels."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import torch
from torch import Tensor, nn
from torch.nn import functional

from adarts_ext import reference
from adarts_ext.genotype import PRIMITIVES
from adarts_ext.genotype.candidates import check_candidates, columns_of
from adarts_ext.genotype.cell_graph import POOLINGS
from adarts_ext.nn import fused, unnormalized
from adarts_ext.nn.attention import ATTENTIONS, build_attention
from adarts_ext.nn.backend import BACKENDS, check_backend
from adarts_ext.nn.batch_norms import reason_against_norms, update_running_statistics
from adarts_ext.nn.candidates import mask_of
from adarts_ext.nn.checks import check_at_least, check_choice, check_even_size, check_feature_map
from adarts_ext.nn.image_blocks import feature_map, lay_out
from adarts_ext.nn.operations import build_operation
from adarts_ext.nn.processes import total_scores
from adarts_ext.nn.selection import SELECTIONS
from adarts_ext.nn.skip_dropout import SKIP
from adarts_ext.nn.synchronised import shared_batch
from adarts_ext.nn.unchanged import AsBuilt, constant_when_compiled
from adarts_ext.ops.operator import check_tensor
from adarts_ext.ops.processes import ALONE
from adarts_ext.reference.skip_dropout import kept_values

MIXED_OP_SETTINGS = itemgetter(
    "channels", "stride", "proportion", "selection", "backend", "candidates", "attention"
)


class PartialMixedOp(nn.Module):
    """All candidate operations of one edge, weighted, on 1/K of the channels.

    With c = C / K channels selected, S their indices and w the weights of the operations,
    ``y[:, S] = sum_o w_o * o(x[:, S])``; the other channels of y are those of x, through a 2x2 max
    pool at stride 2. How S is found depends on ``selection``:

    - ``"attention"`` (ADARTS, arXiv 2208.00791): x is first multiplied by its channel attention M,
      and S are the c channels whose scores, summed over the batch, are largest. The choice has no
      gradient; the attention learns because M multiplies x. **An output depends on the whole
      batch, in evaluation too**, since all its images share S.
    - ``"first"`` (PC-DARTS, arXiv 1907.05737): the first c channels; y is then shuffled in K groups
      so that the next edge takes others.
    - ``"random"``: c channels drawn anew at each call, by torch's generator of the device.
    - ``"all"`` (DARTS, arXiv 1806.09055): every channel; K is not used.
    - ``"first-unshuffled"``, ``"attention-random"`` and ``"attention-all"`` take these apart, to
      see what each part does: the first c channels and no shuffle; x multiplied by M, and then
      random channels, or all.

    The candidates come in the order of :data:`adarts_ext.genotype.PRIMITIVES`, and then those of
    one's own (:func:`register_candidate`); their BatchNorms are without scale and shift, and one
    follows each pooling.

    Args:
        channels: Channels C of input and output.
        stride: 1, or 2 to halve height and width.
        proportion: K, a divisor of C.
        selection: Which of these, by its name.
        backend: ``"fused"`` for the compiled operators, ``"reference"`` for plain torch. What the
            fused kernels serve, and what runs operator by operator, is told at
            :class:`SearchCell`; :meth:`kernels` and the repr say which it is.
        candidates: Those that there are. In the place of the others stands ``none``.
        attention: Which channel attention there is, where the selection has one: ``"cbam"``
            (:class:`ChannelAttention`, ADARTS's) or ``"eca"``
            (:class:`EfficientChannelAttention`).
        columns: What the weights are of; by default PRIMITIVES, and the candidates of one's own.

    Shape:
        x (N, C, H, W) and weights (8,), or more with candidates of one's own, softmax already
        taken, to (N, C, H // stride, W // stride). A third argument, an integer whose bit o says
        whether candidate o, in the order of the weights, is active, leaves the others out: they are
        not computed, their statistics stay as they are, and they get no gradient. A fourth, (2,)
        int64, drops values of the skip connection at stride 1: see
        :func:`adarts_ext.reference.skip_dropout.kept_values`.

    Raises:
        ValueError: If C is not divisible by K, C / K is odd at stride 2 (``skip_connect`` halves
            it), a choice is unknown, or an input has another shape or, at stride 2, an odd size.
        TypeError: If an input is no tensor.

    Example:
        >>> mixed_op = PartialMixedOp(channels=16, stride=2)
        >>> mixed_op(torch.randn(2, 16, 8, 8), torch.full((8,), 1 / 8)).shape
        torch.Size([2, 16, 4, 4])
    """

    def __init__(
        self,
        channels: int,
        stride: int,
        proportion: int = 4,
        selection: str = "attention",
        backend: str = "fused",
        candidates: Sequence[str] = PRIMITIVES,
        attention: str = "cbam",
        columns: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        check_choice("PartialMixedOp", "selection", selection, tuple(SELECTIONS))
        check_backend("PartialMixedOp", backend)
        check_candidates("PartialMixedOp", candidates)
        columns = columns_of(candidates) if columns is None else tuple(columns)
        if columns_of(columns) != columns or not set(candidates) <= set(columns):
            needed = ", ".join(columns_of(candidates))
            raise ValueError(
                f"PartialMixedOp: columns: expected {needed}, or more, got {', '.join(columns)}"
            )
        check_choice("PartialMixedOp", "attention", attention, ATTENTIONS)
        check_at_least("PartialMixedOp", 1, channels=channels, proportion=proportion)
        selected = channels
        if SELECTIONS[selection].channels != "all":
            if channels % proportion:
                raise ValueError(
                    f"PartialMixedOp: channels must be divisible by proportion {proportion}, "
                    f"got {channels}"
                )
            selected = channels // proportion
        self.channels = channels
        self.stride = stride
        self.proportion = proportion
        self.selection = selection
        self.attention = attention
        self.backend = backend
        self.candidates = tuple(candidates)
        self.columns = columns
        self.selected_channels = selected
        if SELECTIONS[selection].attention:
            self.ca = build_attention(attention, channels, backend)
        self._ops = nn.ModuleList()
        for name in self.columns:
            there = name in candidates
            operation = build_operation(name if there else "none", selected, stride, affine=False)
            if name in POOLINGS and there:
                operation = nn.Sequential(operation, nn.BatchNorm2d(selected, affine=False))
            self._ops.append(operation)
        self._built = AsBuilt(self)
        self._settings = MIXED_OP_SETTINGS(vars(self))
        self.mask = mask_of(candidates, self.columns)
        self.edge_layers = fused.EdgeLayers(
            dict(zip(self.columns, self._ops, strict=True)), getattr(self, "ca", None)
        )
        self.fused_layers = self.edge_layers.active(self.mask)

    def forward(
        self,
        x: Tensor,
        weights: Tensor,
        active: int | None = None,
        dropout: Tensor | None = None,
    ) -> Tensor:
        check_feature_map("PartialMixedOp", x, self.channels)
        if self.stride == 2:
            check_even_size("PartialMixedOp", x)
        check_tensor("PartialMixedOp", "weights", weights)
        if weights.shape != (len(self.columns),):
            raise ValueError(
                f"PartialMixedOp: expected {len(self.columns)} weights, got {tuple(weights.shape)}"
            )
        mask = self.mask if active is None else self.mask & active
        if fused.reason_against_input(x) or self._reason_not_fused():
            return self._forward_by_operator(x, weights, mask, dropout)
        states, updates, kind = [lay_out(x)], [], self.edge_kind
        layers = self.fused_layers if mask == self.mask else self.edge_layers.active(mask)
        shared = shared_batch(layers.norms[0]) if layers.norms else ALONE
        of_edge = None if dropout is None else dropout[None]
        weights = weights[None, : len(PRIMITIVES)]
        rest = weights, None, True, updates, None, shared, (mask,), of_edge
        y = fused.mix(kind, layers, states, [(0, 0)], *rest)
        update_running_statistics(updates)
        return feature_map(y)

    @property
    def edge_kind(self) -> fused.EdgeKind:
        """What the fused kernels, and the cell around it, have to know of this edge."""
        return fused.EdgeKind(self.channels, self.selected_channels, self.selection, self.stride)

    @constant_when_compiled
    def _reason_not_fused(self) -> str | None:
        """Return why the fused kernels cannot compute this edge, or None."""
        if MIXED_OP_SETTINGS(vars(self)) != self._settings:
            return "a PartialMixedOp was changed"
        return (
            fused.reason_against_kind(self.backend, self.selected_channels, self.channels)
            or fused.reason_against_candidates(self.candidates)
            or self._built.change(self)
            or reason_against_norms(self.fused_layers.norms)
        )

    def _forward_by_operator(
        self, x: Tensor, weights: Tensor, mask: int, dropout: Tensor | None
    ) -> Tensor:
        selection, functions = SELECTIONS[self.selection], BACKENDS[self.backend]
        if not selection.attention and selection.channels != "random":
            every = self.selected_channels == self.channels
            mix = self._mix if every else self._mix_first
            return mix(x, weights, mask, dropout)
        scale = self.ca(x) if selection.attention else None
        if selection.channels == "attended":
            index = functions.select_channels(total_scores(scale), self.selected_channels)
        else:
            (index,) = self.edge_kind.draw_index(1, x.device)
        mixed = self._mix(functions.gather_channels(x, index, scale), weights, mask, dropout)
        return functions.scatter_channels(x, index, mixed, scale, self.stride)

    def _mix(self, x: Tensor, weights: Tensor, mask: int, dropout: Tensor | None) -> Tensor:
        if dropout is not None and self.stride == 1 and mask >> SKIP & 1:
            others = self._mix(x, weights, mask & ~(1 << SKIP), None)
            return others + weights[SKIP].to(x.dtype) * (x * kept_values(dropout, x))
        # `none`, the first candidate, is zero: it only takes its share of the softmax.
        chosen = [i for i in range(1, len(self.columns)) if mask >> i & 1]
        if not chosen:
            return self._ops[0](x)
        operations = [self._ops[i] for i in chosen]
        if len(chosen) == len(self.columns) - 1:
            weights = weights[1:]
        else:  # no index by a list, which would come from the host: no CUDA graph holds that
            weights = torch.stack([weights[i] for i in chosen])
        if self.backend == "fused":
            return unnormalized.mix(operations, x, weights)
        # Under autocast some candidates lower the precision and some do not.
        return reference.mixed_sum([operation(x).to(x.dtype) for operation in operations], weights)

    def _mix_first(self, x: Tensor, weights: Tensor, mask: int, dropout: Tensor | None) -> Tensor:
        mixed = self._mix(x[:, : self.selected_channels], weights, mask, dropout)
        others = x[:, self.selected_channels :]
        if self.stride == 2:
            others = functional.max_pool2d(others, 2)
        y = torch.cat([mixed, others], dim=1)
        if not SELECTIONS[self.selection].shuffle:
            return y
        groups = (self.proportion, self.selected_channels)
        return y.unflatten(1, groups).transpose(1, 2).flatten(1, 2)

    def extra_repr(self) -> str:
        return (
            f"channels={self.channels}, stride={self.stride}, proportion={self.proportion}, "
            f"selection={self.selection}, backend={self.backend}, kernels={self.kernels()}"
        )

    def kernels(self) -> str:
        """Return which kernels this module runs on, where its input has a dtype they serve."""
        return fused.kernels(self._reason_not_fused())
