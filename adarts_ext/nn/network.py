"""The supernet of the search: stem, search cells, classifier, and the architecture parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adarts_ext.genotype import PRIMITIVES, Genotype, derive, incoming_edges
from adarts_ext.genotype.candidates import (
    Candidates,
    EdgeCandidates,
    Names,
    check_candidates,
    columns_of,
    on_every_edge,
)
from adarts_ext.nn.batch_norms import update_running_statistics
from adarts_ext.nn.candidates import LEFT_OUT, nonzero_masks
from adarts_ext.nn.cell import SearchCell
from adarts_ext.nn.cell_shapes import cell_shapes
from adarts_ext.nn.checks import check_at_least
from adarts_ext.nn.fused import reason_against_input
from adarts_ext.nn.image_blocks import ImageBlocks, global_average, lay_out
from adarts_ext.nn.operation_weights import OperationWeights, checked, softmax_weights
from adarts_ext.nn.processes import averaged_over_processes
from adarts_ext.nn.skip_dropout import draw_dropout
from adarts_ext.nn.stem import StemmedNetwork
from adarts_ext.nn.synchronised import synchronise_batch_norms


class SearchNetwork(StemmedNetwork):
    """The network in which ADARTS, PC-DARTS and DARTS search.

    A stem, ``layers`` search cells of which numbers ``layers // 3`` and
    ``2 * layers // 3`` reduce, global average pooling and a linear classifier (DARTS,
    arXiv 1806.09055). The defaults are ADARTS's (arXiv 2208.00791); ``selection="first"`` makes the
    supernet of PC-DARTS (arXiv 1907.05737) and ``selection="all", edge_normalization=False`` that
    of DARTS.

    ``parameters()`` are the weights only, the attention's among them. The architecture parameters,
    before their softmax, are plain leaf tensors reached by :meth:`arch_parameters`, as in DARTS:
    ``alphas_normal`` and ``alphas_reduce``, (edges, 8), or wider by the candidates of one's own
    (``columns`` are the names), and ``betas_normal`` and ``betas_reduce``,
    (edges,), which are None without edge normalization. They follow the module to another device or
    dtype and are part of its state dict; a state dict without them loads too and leaves them as
    they are. Under DistributedDataParallel their gradients are averaged over the processes too, as
    those of parameters, and the attention chooses channels by the images of all processes, which
    must have as many each; statistics are of a process's own images, but with ``sync_batch_norm``.

    With ``selection="attention"`` an output depends on the whole batch, in evaluation too: see
    :class:`PartialMixedOp`.

    Args:
        init_channels: Channels of a node of the first cell; each reduction cell doubles them.
        num_classes: Number of logits.
        layers: Number of cells, at least 3, so that there are normal and reduction cells.
        proportion: K: the candidate operations see 1/K of the channels.
        selection: How those channels are chosen, ``"attention"``, ``"first"`` and so on; see
            :class:`PartialMixedOp`.
        edge_normalization: Whether the edges into a node are weighted by a softmax over the betas.
        backend: ``"fused"`` for the compiled operators, ``"reference"`` for plain torch.
        memory: ``"store"``, or ``"recompute"`` for less memory and more time; see
            :class:`SearchCell`, also for what runs in fused kernels.
        in_channels: Channels of the images.
        steps: Number of nodes of a cell.
        sync_batch_norm: Whether BatchNorms have the statistics of all images of a batch of which
            several processes have a part each, instead of their own part's.
        stem: ``"cifar"``, a 3x3 convolution, or ``"imagenet"``, three of stride 2, after which the
            cells see an eighth of the images' height and width; see
            :class:`adarts_ext.nn.stem.StemmedNetwork`. Both give ``3 * init_channels``.
        weights: What makes the weights of the candidates, (edges, 8), of the alphas of a kind of
            cell, (edges, 8); see :meth:`operation_weights`.
        candidates: The candidate operations: names that all edges have, or
            :class:`EdgeCandidates` with those of each. Of the others there are
            no layers, and their alphas are so low that their softmax is 0.
        skip_zeros: Whether a candidate that weighs exactly 0 is left out of a pass: it takes no
            time and no memory, its BatchNorms' statistics stay as they are and its weights get no
            gradient, None and not 0, so that neither momentum nor weight decay moves them. Every
            pass then waits for the weights of the candidates, so a GPU cannot have it in a graph.
        attention: Which channel attention there is, where the selection has one: ``"cbam"`` or
            ``"eca"``; see :class:`PartialMixedOp`.
        skip_dropout: The share of the values that skip connections at stride 1 drop in training,
            drawn anew for each pass: a scalar tensor on the network's device, which may be filled
            in place. The others are divided by the share that is kept, as
            :class:`torch.nn.Dropout` does. None for no dropout.

    Shape:
        Images (N, in_channels, H, W), floating point, H and W multiples of 4 and at least 16, with
        stem ``"imagenet"`` multiples of 32 and at least 64, to logits (N, num_classes). A second
        argument, :class:`OperationWeights`, takes the place of those made of the alphas.

    Raises:
        ValueError: If an argument is out of range or unknown, or an input has another shape.
        TypeError: If the images are no tensor, or not floating point, or the weights are others.

    Example:
        >>> network = SearchNetwork(init_channels=4, layers=3)
        >>> network(torch.randn(2, 3, 16, 16)).shape
        torch.Size([2, 10])
        >>> len(network.genotype().normal)
        8
    """

    alphas_normal: Tensor
    alphas_reduce: Tensor
    betas_normal: Tensor | None
    betas_reduce: Tensor | None

    def __init__(
        self,
        init_channels: int = 16,
        num_classes: int = 10,
        layers: int = 8,
        proportion: int = 4,
        selection: str = "attention",
        edge_normalization: bool = True,
        backend: str = "fused",
        memory: str = "store",
        in_channels: int = 3,
        steps: int = 4,
        sync_batch_norm: bool = False,
        stem: str = "cifar",
        weights: Callable[[Tensor], Tensor] = softmax_weights,
        candidates: Candidates = PRIMITIVES,
        skip_zeros: bool = False,
        attention: str = "cbam",
        skip_dropout: Tensor | None = None,
    ) -> None:
        check_candidates("SearchNetwork", candidates)
        check_at_least(
            "SearchNetwork",
            1,
            init_channels=init_channels,
            num_classes=num_classes,
            in_channels=in_channels,
            steps=steps,
        )
        check_at_least("SearchNetwork", 3, layers=layers)
        edges = incoming_edges(steps)[-1].stop
        kinds = ("normal", "reduce")
        of_edges = [on_every_edge("SearchNetwork", candidates, kind, edges) for kind in kinds]
        super().__init__(stem, in_channels, init_channels, 3 * init_channels)
        self.num_classes = num_classes
        self.steps = steps
        self.proportion = proportion
        self.selection = selection
        self.edge_normalization = edge_normalization
        self.backend = backend
        self.memory = memory
        self.weights = weights
        each = isinstance(candidates, EdgeCandidates)
        self.candidates: Candidates = candidates if each else tuple(candidates)
        self.columns = columns_of(candidates)
        self.skip_zeros = skip_zeros
        self.attention = attention
        self.skip_dropout = skip_dropout
        self.cells = nn.ModuleList(
            SearchCell(
                *shape,
                steps=steps,
                proportion=proportion,
                selection=selection,
                backend=backend,
                memory=memory,
                candidates=candidates,
                attention=attention,
            )
            for shape in cell_shapes(init_channels, layers, steps, steps, stem)
        )
        self.classifier = nn.Linear(self.cells[-1].out_channels, num_classes)

        if sync_batch_norm:
            synchronise_batch_norms(self)

        self._apart = _apart(steps)  # no buffer: it is not saved
        self.alphas_normal, self.alphas_reduce = map(self._start_alphas, of_edges)
        self.betas_normal = _architecture_parameter(edges) if edge_normalization else None
        self.betas_reduce = _architecture_parameter(edges) if edge_normalization else None

    def forward(self, x: Tensor, weights: OperationWeights | None = None) -> Tensor:
        states = self.stem_outputs(x)
        given = (self.alphas_normal, self.alphas_reduce) if weights is None else checked(weights)
        normal, reduce, *betas = averaged_over_processes(
            [*given, self.betas_normal, self.betas_reduce]
        )
        if weights is None:
            normal, reduce = self.weights(normal), self.weights(reduce)
        betas_n, betas_r = self._edge_weights(betas)
        reductions = [cell.reduction for cell in self.cells]
        of_cells = OperationWeights(normal, reduce).of_cells(reductions)
        if self.backend == "fused" and not reason_against_input(states[-1]):
            states = [lay_out(state) for state in states]  # and all cells hand it on like that
        s0, s1, updates = states[0], states[-1], []
        active = {id(one): nonzero_masks(one) if self.skip_zeros else () for one in of_cells}
        dropouts: list[Tensor | None] = [None] * len(self.cells)
        if self.training and self.skip_dropout is not None:
            dropouts = draw_dropout(self.skip_dropout, [cell.strides for cell in self.cells])
        for cell, cell_weights, dropout in zip(self.cells, of_cells, dropouts, strict=True):
            betas_c, masks = betas_r if cell.reduction else betas_n, active[id(cell_weights)]
            s0, s1 = s1, cell(s0, s1, cell_weights, betas_c, updates, masks, dropout)
        update_running_statistics(updates)
        if isinstance(s1, ImageBlocks):
            return self.classifier(global_average(s1).to(self.classifier.weight.dtype))
        return self.classifier(functional.adaptive_avg_pool2d(s1, 1).flatten(1))

    def _start_alphas(self, of_edges: Sequence[Names]) -> Tensor:
        alphas = _architecture_parameter(len(of_edges), len(self.columns))
        with torch.no_grad():
            for row, names in zip(alphas, of_edges, strict=True):
                for column, name in enumerate(self.columns):
                    if name not in names:
                        row[column] = LEFT_OUT
        return alphas

    def operation_weights(self) -> OperationWeights:
        """Return what the candidates weigh: those of a pass, if nothing is drawn at random.

        They are ``weights`` of the alphas, and gradients go through them. Changed, one may give
        them to a pass again; with a tensor a cell, gradients are a cell's own.

        Example:
            >>> network, images = SearchNetwork(4, layers=3), torch.randn(2, 3, 16, 16)
            >>> normal, reduce = network.operation_weights()
            >>> logits = network(images, OperationWeights(normal.expand(1, 14, 8), reduce))
            >>> bool((logits == network(images)).all())
            True
        """
        return OperationWeights(self.weights(self.alphas_normal), self.weights(self.alphas_reduce))

    def _edge_weights(self, betas: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        if not self.edge_normalization:
            return betas
        # Row e is the softmax over the edges that enter the node of edge e: fewer kernels than node
        # by node, and both kinds of cells at once.
        rows = (torch.stack(betas)[:, None] + self._apart).softmax(dim=2)
        return rows.diagonal(dim1=1, dim2=2).contiguous().unbind()

    def arch_parameters(self) -> list[Tensor]:
        """Return the alphas of normal and reduction cells, then the betas if there are any."""
        return list(self._named_arch_parameters().values())

    def flat_parameters(self) -> list[Tensor]:
        """Return the weights as few leaf tensors, to train them faster than by ``parameters()``.

        The weights of a fused cell's mixed operations, some two hundred, lie end to end in one
        tensor, which an optimizer and the clipping of gradients take at once; all other weights
        are those of ``parameters()``. From then on the network takes the weights from there, and
        their gradients arrive there. Every one of ``parameters()`` is a view of its part, and so
        is its gradient; names, shapes and state dict stay as they are. Put gradients back to zero
        by ``zero_grad(set_to_none=False)``: where a cell leaves the fused kernels, its gradients
        arrive in those views. A copy of the network is without all this. With ``skip_zeros`` they
        are those of ``parameters()``: of one tensor no part can have no gradient.

        Returns:
            Leaf tensors that together hold every weight once.

        Example:
            >>> network = SearchNetwork(init_channels=4, layers=3)
            >>> len(list(network.parameters())), len(network.flat_parameters())
            (632, 15)
        """
        fused_cells = [cell for cell in self.cells if cell.is_fused and not self.skip_zeros]
        flat = [cell.flatten() for cell in fused_cells]
        inside = {id(weight) for cell in fused_cells for weight in cell.candidate_weights()}
        return [*flat, *(weight for weight in self.parameters() if id(weight) not in inside)]

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """Take the layers for unchanged within the block, so that a pass need not look at them all.

        A pass looks at some 5,000 layers, since the fused kernels stand for them: half of what the
        host does in a step. Within the block it looks once, and again when the network's mode or
        its dtype was changed or a hook was registered anywhere. No layer or buffer may be exchanged
        or set up otherwise there; all values may change.

        Example:
            >>> network = SearchNetwork(init_channels=4, layers=3)
            >>> with network.unchanging():
            ...     for _ in range(2):
            ...         logits = network(torch.randn(2, 3, 16, 16))
        """
        with ExitStack() as stack:
            for cell in self.cells:
                stack.enter_context(cell.unchanging())
            yield

    def genotype(self) -> Genotype:
        """Derive the genotype that the architecture parameters stand for now, by their softmax.

        See :func:`adarts_ext.genotype.derive`.
        """
        parameters = self.alphas_normal, self.alphas_reduce, self.betas_normal, self.betas_reduce
        return derive(*parameters, candidates=self.candidates)

    def _named_arch_parameters(self) -> dict[str, Tensor]:
        names = ("alphas_normal", "alphas_reduce", "betas_normal", "betas_reduce")
        named = {name: getattr(self, name) for name in names}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SearchNetwork:
        super()._apply(fn, recurse)
        # Made anew: to_empty() and the meta device lose its values.
        self._apart = _apart(self.steps).to(fn(self._apart))
        # As for parameters: the tensors stay the same objects, so optimizers keep hold of them, but
        # for tensors that come to the meta device or from it.
        for name, tensor in self._named_arch_parameters().items():
            moved = fn(tensor.data)
            if moved.is_meta != tensor.is_meta:
                setattr(self, name, moved.requires_grad_(tensor.requires_grad))
                continue
            tensor.data = moved
            if tensor.grad is not None:
                tensor.grad.data = fn(tensor.grad.data)
        return self

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, tensor in self._named_arch_parameters().items():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        for name, tensor in self._named_arch_parameters().items():
            key = prefix + name
            if key not in state_dict:
                continue
            if key in unexpected_keys:
                unexpected_keys.remove(key)
            value = state_dict[key]
            if value.shape != tensor.shape:
                error_msgs.append(
                    f"size mismatch for {key}: got {tuple(value.shape)} from the state dict, "
                    f"expected {tuple(tensor.shape)}"
                )
                continue
            with torch.no_grad():
                tensor.copy_(value)

    def extra_repr(self) -> str:
        return (
            f"num_classes={self.num_classes}, layers={len(self.cells)}, "
            f"proportion={self.proportion}, selection={self.selection}, "
            f"edge_normalization={self.edge_normalization}, backend={self.backend}, "
            f"memory={self.memory}, in_channels={self.in_channels}, steps={self.steps}, "
            f"candidates={tuple(self.candidates)}, skip_zeros={self.skip_zeros}, "
            f"attention={self.attention}"
        )


def _apart(steps: int) -> Tensor:
    """Make a matrix over pairs of edges: 0 where they enter one node, else minus infinity."""
    node = torch.arange(steps).repeat_interleave(torch.arange(2, 2 + steps))
    return torch.where(node == node[:, None], 0.0, -torch.inf)


def _architecture_parameter(*shape: int) -> Tensor:
    return (1e-3 * torch.randn(shape)).requires_grad_()
