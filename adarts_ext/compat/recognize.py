"""Finding the cells and mixed operations of a model, and how each can be computed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from adarts_ext.compat import fused_cell, probe, structure
from adarts_ext.compat.fused_mixed_op import FusedMixedOp, widths
from adarts_ext.compat.swap import Computed, arguments_of
from adarts_ext.compat.watch import has_other_attributes, plain_attributes
from adarts_ext.compat.weighted_mixed_op import WeightedMixedOp
from adarts_ext.nn import PartialMixedOp, SearchCell
from adarts_ext.nn.fused import reason_against_kind

_OURS = (SearchCell, PartialMixedOp)
_outcomes: dict[Any, Any] = {}  # of probes, by what was probed


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
    if parts.selected is None or parts.stride is None:
        return "its candidates have several numbers of channels or strides"
    reason = reason_against_kind("fused", parts.selected)
    if not parts.fits_kernels:
        reason = f"candidates that are not known: {_unknown(module, parts)}"
    reasons = []
    for channels in widths(parts):
        plans: list[FusedMixedOp] = [FusedMixedOp(parts, channels, memory)]
        if reason:
            plans = [
                WeightedMixedOp(parts, channels, memory, reason, inside) for inside in (True, False)
            ]
        shapes = [(probe.BATCH, channels, probe.SIZE, probe.SIZE)]
        for plan in plans:
            tried = functools.partial(_try_edge, module, plan, shapes)
            reasons.append(_once(module, (type(plan), *plan.settings(), channels), tried))
            if reasons[-1] is None:
                return plan
    if not reasons:
        return "its channels are no multiple of those of its candidates"
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
    if not all(type(edge) is FusedMixedOp for edge in edges):
        return "its mixed operations are not all fused"
    if len(arguments) not in (3, 4):
        return "its forward does not take two inputs, alphas and, perhaps, betas"
    if not fused_cell.agree(edges) or not fused_cell.right_strides(edges, parts.steps):
        return "its mixed operations differ"
    strides = [structure.preprocess_stride(module._modules[name]) for name in parts.preprocess]
    if None in strides:
        return "what fits its inputs is not known"
    plan = fused_cell.FusedCell(module, parts, edges, len(arguments), memory)
    found = _once(module, (memory,), functools.partial(_try_cell, module, plan))
    if isinstance(found, str):
        return found
    plan.multiplier, plan.calls = found
    return plan


def _try_edge(module: nn.Module, plan: FusedMixedOp, shapes: list[tuple[int, ...]]) -> str | None:
    """Return why a plan does not compute a mixed operation, or None."""
    vectors = [(len(plan.parts.candidates),)]
    return probe.Probe(module, shapes, vectors).difference(plan)


def _try_cell(module: nn.Module, plan: fused_cell.FusedCell) -> str | tuple[int, int]:
    """Return why a plan does not compute a cell, or its multiplier and calls."""
    edges, side = plan.edges, probe.SIZE
    shapes = [
        (probe.BATCH, channels, side * stride, side * stride)
        for channels, stride in zip(plan.inputs, plan.strides, strict=True)
    ]
    vectors = [(len(edges), len(edges[0].parts.candidates)), (len(edges),)][: plan.arguments - 2]
    trial = probe.Probe(module, shapes, vectors)
    try:
        y = trial.output()
    except Exception as error:  # other code may raise anything
        return probe.raised(error)
    multiplier = fused_cell.output_nodes(y, edges[0].channels, plan.parts.steps)
    if multiplier is None:
        return "its output does not consist of nodes"
    plan.multiplier = multiplier
    # A mixed operation may be called more than once, which its running statistics show.
    plan.calls = int(plan.find(trial.copy)[-1].norms[0].num_batches_tracked)
    return trial.difference(plan) or (plan.multiplier, plan.calls)


def _once(module: nn.Module, more: tuple[object, ...], tried: Callable[[], Any]) -> Any:
    """Try a module, or remember what came out of trying one like it."""
    if any("forward" in part.__dict__ for part in module.modules()):
        return "a layer has a forward function of its own"
    if any(map(has_other_attributes, module.modules())):  # which may tell it from others
        return tried()
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    alike = tuple(
        (name, type(part), type(part).forward, part.extra_repr(), repr(plain_attributes(part)))
        for name, part in module.named_modules()
    )
    key = (alike, device, *more)
    if key not in _outcomes:
        _outcomes[key] = tried()
    return _outcomes[key]


def _unknown(module: nn.Module, parts: structure.MixedOpStructure) -> str:
    operations = module._modules[parts.operations]
    unknown = [
        type(operation).__name__
        for operation, known in zip(operations, parts.candidates, strict=True)
        if known.primitive is None
    ]
    return ", ".join(unknown) or "several of one kind"
