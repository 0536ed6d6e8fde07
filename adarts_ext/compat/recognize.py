"""Finding the cells and mixed operations of a model, and how each can be computed."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from adarts_ext.compat import fused_cell, probe, structure
from adarts_ext.compat.fused_mixed_op import FusedMixedOp, widths
from adarts_ext.compat.swap import Computed, arguments_of, forwards_of, required
from adarts_ext.compat.watch import has_other_attributes, kept_results, plain_attributes
from adarts_ext.compat.weighted_mixed_op import WeightedMixedOp
from adarts_ext.nn import PartialMixedOp, SearchCell
from adarts_ext.nn.fused import reason_against_kind

_OURS = (SearchCell, PartialMixedOp)
_Outcomes = dict[Any, Any]  # of probes, by what was probed
_LEAVES_OUT = "its code leaves out candidates of small weight"
_Served = tuple[float, bool]  # the least weight, and whether candidates of weight 0 are left out


def recognize(
    model: nn.Module, memory: str
) -> tuple[dict[nn.Module, Computed], dict[nn.Module, str]]:
    """Return plans for what is understood below ``model``, and reasons for what is not."""
    plans: dict[nn.Module, Computed] = {}
    left: dict[nn.Module, str] = {}
    outcomes: _Outcomes = {}  # not for longer: code may read what changes until the next call
    ours = {
        below for part in model.modules() if isinstance(part, _OURS) for below in part.modules()
    }
    others = [part for part in model.modules() if part not in ours]
    for module in others:
        parts = structure.mixed_op(module)
        if parts is None:
            continue
        found = _mixed_op(module, parts, memory, outcomes)
        (left if isinstance(found, str) else plans)[module] = found
    known = {module: None for module in (*plans, *left)}
    for module in others:
        parts = None if module in known else structure.cell(module, known)
        if parts is None:
            continue
        found = _cell(module, parts, plans, memory, outcomes)
        (left if isinstance(found, str) else plans)[module] = found
    return plans, left


def _mixed_op(
    module: nn.Module, parts: structure.MixedOpStructure, memory: str, outcomes: _Outcomes
) -> FusedMixedOp | str:
    methods = [
        name
        for name in forwards_of(type(module))
        if required(arguments_of(type(module), name)) == 2
    ]
    if not methods:
        return "its forward does not take an input and weights"
    if parts.besides:
        return f"it has layers besides its candidates: {', '.join(parts.besides)}"
    if parts.selected is None or parts.stride is None:
        return "its candidates have several numbers of channels or strides"
    unknown = None if parts.fits_kernels else _unknown(module, parts)
    reasons = []
    for channels, method in itertools.product(widths(parts), methods):
        reason = unknown or reason_against_kind("fused", parts.selected, channels)
        plans: list[FusedMixedOp] = [FusedMixedOp(parts, channels, memory)]
        if reason:
            plans = [
                WeightedMixedOp(parts, channels, memory, reason, inside) for inside in (True, False)
            ]
        shapes = [(probe.BATCH, channels, probe.SIZE, probe.SIZE)]
        for plan in plans:
            plan.method = method
            tried = functools.partial(_try_edge, module, plan, shapes)
            key = (type(plan), *plan.settings(), channels, method)
            found = _once(module, key, tried, outcomes)
            if not isinstance(found, str):
                plan.least_weight, plan.skips = found
                return plan
            reasons.append(found)
    if not reasons:
        return "its channels are no multiple of those of its candidates"
    return _likeliest(reasons)


def _cell(
    module: nn.Module,
    parts: structure.CellStructure,
    plans: dict[nn.Module, Computed],
    memory: str,
    outcomes: _Outcomes,
) -> Computed | str:
    edges = [plans.get(mixed_op) for mixed_op in parts.mixed_ops(module)]
    if not all(type(edge) is FusedMixedOp for edge in edges):
        return "its mixed operations are not all fused"
    calls = [
        (method, count)
        for method in forwards_of(type(module))
        for count in _argument_counts(arguments_of(type(module), method))
    ]
    if not calls:
        return "its forward does not take two inputs, alphas and, perhaps, betas"
    if not fused_cell.agree(edges) or not fused_cell.right_strides(edges, parts.steps):
        return "its mixed operations differ"
    strides = [structure.preprocess_stride(module._modules[name]) for name in parts.preprocess]
    if None in strides:
        return "what fits its inputs is not known"
    reasons = {}
    by_nodes = (True, False) if parts.by_node else (False,)
    for (method, count), by_node in itertools.product(calls, by_nodes):
        plan = fused_cell.FusedCell(module, parts, edges, count, by_node, memory)
        plan.method = method
        tried = functools.partial(_try_cell, module, plan)
        found = _once(module, (memory, method, count, by_node), tried, outcomes)
        if not isinstance(found, str):
            plan.multiplier, plan.calls, (plan.least_weight, plan.skips) = found
            return plan
        reasons[method, count, by_node] = found
    more = list(arguments_of(type(module), calls[-1][0]))[3:]
    without = [reason for (_, count, _), reason in reasons.items() if count == 3]
    if more and without and all(reason.startswith(probe.RAISED) for reason in without):
        return f"it takes more than two inputs and alphas, and needs it: {', '.join(more)}"
    return _likeliest(list(reasons.values()))


def _argument_counts(arguments: dict[str, Any]) -> list[int]:
    """Return how many arguments of a cell may be inputs and weights.

    A fourth one may be betas, or an option: `betas=None`, `drop_prob=0.0`.
    """
    return [count for count in (4, 3) if required(arguments) <= count <= len(arguments)]


def _likeliest(reasons: list[str]) -> str:
    """Return the reason to show of those that several trials gave.

    Arguments of another form or width than the code expects make it raise: what else was seen tells
    more.
    """
    return min(reasons, key=lambda reason: reason.startswith(probe.RAISED))


def _try_edge(
    module: nn.Module, plan: FusedMixedOp, shapes: list[tuple[int, ...]]
) -> str | _Served:
    """Return why a plan does not compute a mixed operation, or the weights it does with."""
    vectors = [(len(plan.parts.candidates),)]
    trial = probe.Probe(module, shapes, vectors, plan.method)
    return trial.difference(plan) or _served(trial, plan)


def _served(trial: probe.Probe, plan: Computed) -> str | _Served:
    """Return from which weights on a plan computes a module, and whether it skips those of 0.

    Other code may leave out candidates that weigh 0, or little: they get no gradients, and their
    running statistics stay. 0 is served by leaving them out too, a small weight not at all.
    """
    if trial.agrees(plan, 0.0):
        return 0.0, False
    plan.skips = plan.may_skip
    plan.skips = plan.skips and trial.agrees(plan, 0.0)
    least = trial.least_weight(plan)
    return _LEAVES_OUT if least is None else (least, plan.skips)


def _try_cell(module: nn.Module, plan: fused_cell.FusedCell) -> str | tuple[int, int, _Served]:
    """Return why a plan does not compute a cell, or its multiplier, calls and what it serves."""
    edges, side = plan.edges, probe.SIZE
    shapes = [
        (probe.BATCH, channels, side * stride, side * stride)
        for channels, stride in zip(plan.inputs, plan.strides, strict=True)
    ]
    candidates = len(edges[0].parts.candidates)
    alphas = (len(edges), candidates)
    if plan.by_node:
        alphas = plan.parts.alphas_by_node(candidates)
    vectors = [alphas, (len(edges),)][: plan.arguments - 2]
    trial = probe.Probe(module, shapes, vectors, plan.method)
    try:
        y = trial.output()
    except Exception as error:  # other code may raise anything
        return probe.raised(error)
    multiplier = fused_cell.output_nodes(y, edges[0].channels, plan.parts.steps)
    if multiplier is None:
        return "its output does not consist of nodes"
    plan.multiplier = multiplier
    # A mixed operation may be called more than once, which its running statistics show.
    norms = plan.find(trial.copy)[-1].norms
    plan.calls = int(norms[0].num_batches_tracked) if norms else 1
    served = trial.difference(plan) or _served(trial, plan)
    return served if isinstance(served, str) else (plan.multiplier, plan.calls, served)


def _once(
    module: nn.Module, more: tuple[object, ...], tried: Callable[[], Any], outcomes: _Outcomes
) -> Any:
    """Try a module, or return what came out of trying one like it."""
    if any(name in p.__dict__ for p in module.modules() for name in forwards_of(type(p))):
        return "a layer has a forward function of its own"
    kept = kept_results(module)
    if kept:
        return f"its forward sets {kept}, which the kernels would not"
    if any(map(has_other_attributes, module.modules())):  # which may tell it from others
        return tried()
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    alike = tuple(
        (name, type(part), part.extra_repr(), repr(plain_attributes(vars(part))))
        for name, part in module.named_modules()
    )
    key = (alike, device, *more)
    if key not in outcomes:
        outcomes[key] = tried()
    return outcomes[key]


def _called(operation: nn.Module) -> str:
    """Name a candidate by its class, and by those of its layers where that says nothing."""
    name = type(operation).__name__
    if type(operation) is nn.Sequential:
        return f"{name}({', '.join(map(_called, operation))})"
    return name


def _unknown(module: nn.Module, parts: structure.MixedOpStructure) -> str:
    unknown = [
        _called(operation)
        for operation, known in zip(parts.operations_of(module), parts.candidates, strict=True)
        if known.primitive is None
    ]
    if unknown:
        return f"candidates that are not known: {', '.join(unknown)}"
    return "several candidates of one kind"
