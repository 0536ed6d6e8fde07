"""Whether modules are still what they were when they were built.

The fused kernels of a search cell compute what its modules were built to compute, without calling
them. A layer that was exchanged since, set up otherwise or given a hook would be overlooked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from operator import attrgetter
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from adarts_ext.nn.operations import Zero

#: Where a module keeps what is called with it.
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_hooks = attrgetter(*HOOKS)
_kept, _below, _weights = map(attrgetter, ("__dict__", "_modules", "_parameters"))
Settings = dict[type[nn.Module], Callable[[nn.Module], Any]]

#: What a layer computes, beyond its class and its weights.
_SETTINGS: Settings = {
    nn.Conv2d: attrgetter("stride", "padding", "dilation", "groups", "padding_mode"),
    nn.MaxPool2d: attrgetter("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    nn.AvgPool2d: attrgetter(
        "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"
    ),
    nn.BatchNorm2d: attrgetter("affine", "track_running_stats"),
    Zero: attrgetter("stride"),
}


class AsBuilt:
    """All modules below ``root`` as they are now, to be compared with what they are later.

    Args:
        root: The module, which is itself not looked at.
        settings: What to compare of modules of further classes.

    Example:
        >>> root = nn.Sequential(nn.ReLU(), nn.Conv2d(2, 3, 1, bias=False))
        >>> built = AsBuilt(root)
        >>> built.change(root)
        >>> root[1].stride = (2, 2)
        >>> built.change(root)
        'a Conv2d was changed'
        >>> root[1] = nn.Identity()
        >>> built.change(root)
        'a layer was exchanged'
    """

    def __init__(self, root: nn.Module, settings: Settings | None = None) -> None:
        # Not the root itself: a module that holds itself is not freed when it is last used.
        self.modules = list(root.modules())[1:]
        self.take_classes()
        self.children = _children(root, self.modules)
        self.get = _SETTINGS | (settings or {})
        self.of_kind = {kind: _of_kind(self.modules, kind) for kind in self.get}
        self.settings = self._settings()
        self.handles = -1  # when there were no hooks

    def change(self, root: nn.Module) -> str | None:
        """Return what has changed below ``root``, or None; a microsecond for 3 modules."""
        if _children(root, self.modules) != self.children:
            return "a layer was exchanged"
        if list(map(type, self.modules)) != self.classes:
            return "a layer has another class"
        handles = RemovableHandle.next_id  # of all hooks that were ever registered
        if handles != self.handles and any(chain.from_iterable(map(_hooks, self.modules))):
            return "a layer has hooks"
        self.handles = handles
        if any(["forward" in own for own in map(_kept, self.modules)]):
            return "a layer has another forward function"
        # A replica of DataParallel has its bias elsewhere.
        if any(["bias" not in own or own["bias"] is not None for own in self._convolutions()]):
            return "a Conv2d has a bias"
        settings = self._settings()
        for kind, built in self.settings.items():
            if settings[kind] != built:
                return f"a {kind.__name__} was changed"
        return None

    def take_classes(self) -> None:
        """Take the classes that the modules have for those that they were built with."""
        self.classes = list(map(type, self.modules))

    def _convolutions(self) -> Iterable[dict[str, Any]]:
        return map(_weights, self.of_kind[nn.Conv2d])

    def _settings(self) -> dict[type[nn.Module], list[Any]]:
        return {kind: list(map(self.get[kind], these)) for kind, these in self.of_kind.items()}


def _children(root: nn.Module, modules: Iterable[nn.Module]) -> list[nn.Module]:
    return [
        *root._modules.values(),
        *chain.from_iterable(map(dict.values, filter(None, map(_below, modules)))),
    ]


def _of_kind(modules: Iterable[nn.Module], kind: type[nn.Module]) -> list[nn.Module]:
    return [module for module in modules if type(module) is kind]


def constant_when_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have torch.compile call a function while tracing and take its result for a constant.

    As ``torch.compiler.assume_constant_result``, which imports torch._dynamo at once: 1.7 seconds.
    """
    function._dynamo_marked_constant = True
    return function
