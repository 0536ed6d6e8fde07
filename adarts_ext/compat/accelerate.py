"""Fused kernels in existing DARTS-family code, with one line."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from adarts_ext.compat.fused_cell import FusedCell
from adarts_ext.compat.recognize import recognize
from adarts_ext.compat.report import AccelerationReport, Entry
from adarts_ext.compat.swap import Computed, accelerated, original_class, swap, swap_back
from adarts_ext.compat.verify import verify_same
from adarts_ext.nn import SearchNetwork
from adarts_ext.nn.checks import check_choice
from adarts_ext.nn.recompute import MEMORY_MODES

_LEFT = "_acceleration_left"


def accelerate(model: nn.Module, memory: str = "store", verify: bool | Tensor = False) -> nn.Module:
    """Have the search cells of existing DARTS-family code computed by the fused kernels, in place.

    Cells, mixed operations and candidates are told by their structure, whatever their classes are
    called, and tried out on copies in float64: only what computes the same outputs, gradients and
    running statistics is exchanged. A cell whose parts are all understood is fused as a whole; else
    its mixed operations one by one; of a mixed operation with candidates of one's own, the
    BatchNorms and the weighted sum. Everything else stays untouched:
    :func:`acceleration_report` says what and why.

    Parameters and buffers stay the same objects under the same names, so optimisers and state dicts
    go on working; so do ``arch_parameters()``, ``genotype()``, ``new()`` (what it makes is
    accelerated too), copying, pickling, ``.to()``, ``.train()``, hooks on cells, autocast,
    DataParallel and DistributedDataParallel. Where an input is not served, or a part was changed or
    given a hook since, a module runs its own code and says so in a warning.

    Args:
        model: The network, or a part of it. A model that is accelerated already is done anew.
        memory: ``"store"``, or ``"recompute"`` for less memory and more time; see
            :class:`adarts_ext.nn.SearchCell`.
        verify: Whether to run a batch through the whole model both ways and compare outputs and
            gradients; or the images to do that with, if random ones of (8, channels, 64, 64) do not
            fit.

    Returns:
        ``model``.

    Raises:
        ValueError: If ``memory`` is unknown; or, with ``verify``, if both ways differ by more than
            rounding. The model is then as it was.
        TypeError: If ``model`` is no module.

    Example:
        >>> from adarts_ext.reference.networks import Network
        >>> model = accelerate(Network("pc-darts", channels=4, layers=3))
        >>> print(acceleration_report(model))
           3 Cell: cell (cells.0 to cells.2)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"accelerate: expected a torch.nn.Module, got {type(model).__name__}")
    check_choice("accelerate", "memory", memory, MEMORY_MODES)
    restore(model)
    plans, left = recognize(model, memory)
    for module, plan in plans.items():  # mixed operations come before cells
        swap(module, plan)
        plan.attach(module)
    for module, reason in left.items():
        setattr(module, _LEFT, reason)
    if not plans:
        warnings.warn(
            f"accelerate: nothing was accelerated: {acceleration_report(model)}", stacklevel=2
        )
        return model
    for module in list(model.modules()):
        if callable(getattr(type(module), "new", None)):
            swap(module, _Renewed(memory))
    _warn_of_processes(model)
    if verify is not False:
        try:
            verify_same(model, None if verify is True else verify)
        except Exception:  # the model may refuse the images
            restore(model)
            raise
    return model


def _warn_of_processes(model: nn.Module) -> None:
    """Warn where several processes train architecture parameters that nothing keeps the same."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    if distributed.get_world_size() == 1:
        return
    known = {id(parameter) for parameter in model.parameters()}
    for module in model.modules():
        arch = getattr(module, "arch_parameters", None)
        if isinstance(module, SearchNetwork) or not callable(arch):
            continue
        if all(id(tensor) in known for tensor in arch()):
            continue
        warnings.warn(
            f"accelerate: arch_parameters() of {original_class(module).__name__} are no "
            "parameters, so DistributedDataParallel does not average their gradients, and they "
            "go another way in each process; average them before their step, with "
            "torch.distributed.all_reduce",
            stacklevel=3,
        )


def restore(model: nn.Module) -> nn.Module:
    """Undo :func:`accelerate`, in place.

    Args:
        model: A model, accelerated or not.

    Returns:
        ``model``.
    """
    for module in model.modules():
        swap_back(module)
        module.__dict__.pop(_LEFT, None)
    return model


def acceleration_report(model: nn.Module) -> AccelerationReport:
    """List what :func:`accelerate` fused, at which level, and what it left, with the reasons.

    Modules that were changed since, or whose last call was not served, and that run their own code
    now, are listed as untouched.
    """
    entries, within = [], set()
    for name, module in model.named_modules():
        plan, reason = accelerated(module), module.__dict__.get(_LEFT, "")
        if isinstance(plan, Computed):
            changed = plan.changed(module) or plan.refused
            if module not in within:
                level = "untouched" if changed else plan.level
                kind = original_class(module).__name__
                entries.append(Entry(name, kind, level, changed or plan.reason))
            if isinstance(plan, FusedCell) and not changed:
                within.update(module.modules())
        elif reason:
            entries.append(Entry(name, type(module).__name__, "untouched", reason))
    return AccelerationReport(tuple(entries))


class _Renewed:
    """The plan of a network whose ``new()`` makes another one, as DARTS's second order does."""

    def __init__(self, memory: str) -> None:
        self.memory = memory

    @staticmethod
    def methods(kind: type[nn.Module]) -> dict[str, Any]:
        """Make the methods of the accelerated class."""

        def new(self, *args, **kwargs):
            made = kind.new(self, *args, **kwargs)
            if isinstance(made, nn.Module):
                accelerate(made, accelerated(self).memory)
            return made

        return {"new": new}
