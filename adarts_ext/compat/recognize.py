"""Finding the cells and mixed operations of a model, and how each can be computed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from adarts_ext.compat import edge, node, probe, structure
from adarts_ext.compat.edge import FusedMixedOp
from adarts_ext.compat.swap import Computed, arguments_of
from adarts_ext.compat.watch import plain_attributes
from adarts_ext.nn import PartialMixedOp, SearchCell, fused

_OURS = (SearchCell, PartialMixedOp)
_outcomes: dict[Any, str | None] = {}  # of probes, by what was probed
_runs: dict[Any, tuple[int, int] | str] = {}  # of cells: nodes in the output, evaluations of edges


def recognize(
    model: nn.Module, memory: str
) -> tuple[dict[nn.Module, Computed], dict[nn.Module, str]]:
    """Return plans for what is understood below ``model``, and reasons for what is not."""
    plans: dict[nn.Module, Computed] = {}
    left: dict[nn.Module, str] = {}
    ours = {
        below for part in model.modules() if isinstance(part, _OURS) for below in part.modules()
    }
    others = [part for part in model.modules() if part not in ours]
    for module in others:
        parts = structure.mixed_op(module)
        if parts is None:
            continue
        found = _mixed_op(module, parts, memory)
        (left if isinstance(found, str) else plans)[module] = found
    known = {module: None for module in (*plans, *left)}
    for module in others:
        parts = None if module in known else structure.cell(module, known)
        if parts is None:
            continue
        found = _cell(module, parts, plans, memory)
        (left if isinstance(found, str) else plans)[module] = found
    return plans, left


def _mixed_op(
    module: nn.Module, parts: structure.MixedOpStructure, memory: str
) -> FusedMixedOp | str:
    arguments = arguments_of(type(module))
    if len(arguments) != 2:
        return "its forward does not take an input and weights"
    if not parts.fits_kernels:
        return f"candidates that are not known: {_unknown(module, parts)}"
    if parts.selected is None or parts.stride is None:
        return "its candidates have several numbers of channels or strides"
    reasons = [fused.unserved_kind("fused", parts.selected)]
    if reasons == [None]:
        reasons = []
        for channels in edge.widths(parts):
            plan = FusedMixedOp(parts, channels, memory)
            shapes = [(probe.BATCH, channels, probe.SIZE, probe.SIZE)]
            reasons.append(_tried(module, plan, shapes, [(len(parts.candidates),)]))
            if reasons[-1] is None:
                return plan
    # An input of another width than the code expects makes it raise: say what else was seen.
    return min(reasons, key=lambda reason: reason.startswith(probe.RAISED))


def _cell(
    module: nn.Module,
    parts: structure.CellStructure,
    plans: dict[nn.Module, Computed],
    memory: str,
) -> Computed | str:
    arguments = arguments_of(type(module))
    mixed_ops = list(module._modules[parts.edges])
    edges = [plans.get(mixed_op) for mixed_op in mixed_ops]
    if not all(isinstance(edge, FusedMixedOp) for edge in edges):
        return "its mixed operations are not all fused"
    if len(arguments) not in (3, 4):
        return "its forward does not take two inputs, alphas and, perhaps, betas"
    if not node.agree(edges) or not node.right_strides(edges, parts.steps):
        return "its mixed operations differ"
    strides = [structure.preprocess_stride(module._modules[name]) for name in parts.preprocess]
    if None in strides:
        return "what fits its inputs is not known"
    plan = node.FusedCell(module, parts, edges, parts.steps, len(arguments), memory)
    side = probe.SIZE
    shapes = [
        (probe.BATCH, channels, side * stride, side * stride)
        for channels, stride in zip(plan.inputs, strides, strict=True)
    ]
    vectors = [(len(edges), len(edges[0].parts.candidates)), (len(edges),)][: len(arguments) - 2]
    key = _key(module, plan, shapes)
    if key not in _runs:
        _runs[key] = _run(module, parts, edges[0].channels, shapes, vectors)
    if isinstance(_runs[key], str):
        return _runs[key]
    plan.multiplier, plan.evaluations = _runs[key]
    return _tried(module, plan, shapes, vectors) or plan


def _run(
    module: nn.Module, parts: structure.CellStructure, channels: int, shapes, vectors
) -> tuple[int, int] | str:
    """Run a cell and tell what its structure does not, or say why it is none."""
    try:
        y, after = probe.output(module, shapes, vectors)
    except Exception as error:  # other code may raise anything
        return probe.raised(error)
    multiplier = node.output_nodes(y, channels, parts.steps)
    if multiplier is None:
        return "its output does not consist of nodes"
    return multiplier, node.evaluations(module, after, parts.edges)


def _tried(module: nn.Module, plan: Computed, shapes, vectors) -> str | None:
    """Say what a probe of the plan finds, or None; modules that are alike are tried once."""
    if any("forward" in part.__dict__ for part in module.modules()):
        return "a layer has a forward function of its own"
    key = _key(module, plan, shapes)
    if key not in _outcomes:
        _outcomes[key] = probe.difference(module, plan, shapes, vectors)
    return _outcomes[key]


def _key(module: nn.Module, plan: Computed, shapes) -> Any:
    """Return what is equal for modules that compute the same."""
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    alike = tuple(
        (name, type(part), type(part).forward, part.extra_repr(), repr(plain_attributes(part)))
        for name, part in module.named_modules()
    )
    return alike, type(plan), plan.store, device, tuple(shapes)


def _unknown(module: nn.Module, parts: structure.MixedOpStructure) -> str:
    operations = module._modules[parts.operations]
    unknown = [
        type(operation).__name__
        for operation, known in zip(operations, parts.candidates, strict=True)
        if known.primitive is None
    ]
    return ", ".join(unknown) or "several of one kind"
