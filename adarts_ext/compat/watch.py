"""What an accelerated module relies on, kept to notice when it no longer holds."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from adarts_ext.nn.unchanged import AsBuilt

_SCALARS = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
# Torch's own: hooks set some of them, DataParallel the last two.
_TORCHS = {*vars(nn.Module()), "_is_replica", "_former_parameters"}


class Watch:
    """A module's parts and plain attributes as they are now.

    Args:
        module: The module; it is itself not kept.

    Example:
        >>> cell = nn.Sequential(nn.ReLU())
        >>> watch = Watch(cell)
        >>> cell.rate = 0.5
        >>> watch.change(cell)
        'an attribute of Sequential was changed'
    """

    def __init__(self, module: nn.Module) -> None:
        parts = {type(part) for part in module.modules()}
        self.settings = {
            kind: plain_attributes for kind in parts if not kind.__module__.startswith("torch.nn.")
        }
        self.built = AsBuilt(module, self.settings)
        self.attributes = plain_attributes(module)

    def change(self, module: nn.Module) -> str | None:
        """Return what has changed, or None."""
        if plain_attributes(module) != self.attributes:
            return f"an attribute of {type(module).__name__} was changed"
        built = self.built
        if is_replica(module):  # of DataParallel: the same structure of other modules
            built = AsBuilt(module, self.settings)
            if built.classes != self.built.classes or built.settings != self.built.settings:
                return "a layer was changed"
        return built.change(module)


def is_replica(module: nn.Module) -> bool:
    """Return whether ``torch.nn.DataParallel`` made this module for one forward pass."""
    return module.__dict__.get("_is_replica", False)


def plain_attributes(module: nn.Module) -> dict[str, Any]:
    """Return the numbers and strings, alone or in containers, that a module may compute by."""
    return {
        name: value if isinstance(value, _SCALARS) else repr(value)
        for name, value in module.__dict__.items()
        if name not in _TORCHS and _is_plain(value)
    }


def has_other_attributes(module: nn.Module) -> bool:
    """Return whether a module may compute by something else: a tensor, a function, an object."""
    return any(name not in _TORCHS and not _is_plain(v) for name, v in module.__dict__.items())


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    if isinstance(value, (tuple, list, set, frozenset)):
        return all(map(_is_plain, value))
    return isinstance(value, _SCALARS)
