"""What an accelerated module relies on, kept to notice when it no longer holds."""

from __future__ import annotations

from typing import Any

from torch import nn

from adarts_ext.nn.built import AsBuilt

_SIMPLE = (bool, int, float, str, tuple, type(None))
_TORCHS = {*vars(nn.Module()), "_is_replica"}  # hooks set some of them


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
        """Say what has changed, or None."""
        if plain_attributes(module) != self.attributes:
            return f"an attribute of {type(module).__name__} was changed"
        built = self.built
        if is_replica(module):  # of DataParallel: the same structure of other modules
            built = AsBuilt(module, self.settings)
            if built.classes != self.built.classes or built.settings != self.built.settings:
                return "a layer was changed"
        return built.change(module)


def is_replica(module: nn.Module) -> bool:
    """Whether ``torch.nn.DataParallel`` made this module for one forward pass."""
    return module.__dict__.get("_is_replica", False)


def plain_attributes(module: nn.Module) -> dict[str, Any]:
    """Return the numbers and strings that a module may compute by."""
    return {
        name: value
        for name, value in module.__dict__.items()
        if isinstance(value, _SIMPLE) and name not in _TORCHS
    }
