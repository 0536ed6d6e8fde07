"""Whether modules are still what they were when they were built.

The fused kernels of a search cell compute what its modules were built to compute, without calling
them. A layer that was exchanged since, set up otherwise or given a hook would be overlooked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain, repeat
from operator import attrgetter, contains, itemgetter
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from adarts_ext.nn.operations import Identity, Zero

#: Where a module keeps what is called with it.
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_hooks = attrgetter(*HOOKS)
_below, _weights = itemgetter("_modules"), itemgetter("_parameters")
Attributes = Mapping[str, Any]
Settings = dict[type[nn.Module], Callable[[Attributes], Any]]

#: What a layer computes, beyond its class and its weights, by its own attributes.
_SETTINGS: Settings = {
    nn.Conv2d: itemgetter("stride", "padding", "dilation", "groups", "padding_mode"),
    nn.MaxPool2d: itemgetter("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    nn.AvgPool2d: itemgetter(
        "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"
    ),
    nn.BatchNorm2d: itemgetter("affine", "track_running_stats"),
    Zero: itemgetter("stride"),
}

#: Layers that call none below them.
_LEAVES = {*_SETTINGS, nn.ReLU, Identity}


class AsBuilt:
    """All modules below ``root`` as they are now, to be compared with what they are later.

    Hundreds of modules are looked at in every pass, so through the dicts of their attributes, which
    stay theirs.

    Args:
        root: The module, which is itself not looked at.
        settings: What to compare of the attributes of modules of further classes.

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
        self._kinds = self.classes
        self.get = _SETTINGS | (settings or {})
        self._find()
        self.children = self._children(root)
        self.settings = self._settings()
        self.handles = -1  # when there were no hooks

    def change(self, root: nn.Module) -> str | None:
        """Return what has changed below ``root``, or None; a microsecond for 10 modules."""
        if self._own is None:
            self._find()
        if self._children(root) != self.children:
            return "a layer was exchanged"
        if list(map(type, self.modules)) != self.classes:
            return "a layer has another class"
        handles = RemovableHandle.next_id  # of all hooks that were ever registered
        if handles != self.handles and any(chain.from_iterable(map(_hooks, self.modules))):
            return "a layer has hooks"
        self.handles = handles
        if any(map(contains, self._own, repeat("forward"))):
            return "a layer has another forward function"
        # A replica of DataParallel has its bias elsewhere.
        weights = map(_weights, self._of_kind[nn.Conv2d])
        if any(["bias" not in own or own["bias"] is not None for own in weights]):
            return "a Conv2d has a bias"
        settings = self._settings()
        for kind, built in self.settings.items():
            if settings[kind] != built:
                return f"a {kind.__name__} was changed"
        return None

    def take_classes(self) -> None:
        """Take the classes that the modules have for those that they were built with."""
        self.classes = list(map(type, self.modules))

    def _find(self) -> None:
        """Find the attributes that are looked at."""
        own = [module.__dict__ for module in self.modules]
        each = list(zip(self._kinds, own, strict=True))
        self._own = own
        self._parents = [its for kind, its in each if kind not in _LEAVES]
        self._of_kind = {kind: [its for one, its in each if one is kind] for kind in self.get}

    def _children(self, root: nn.Module) -> list[nn.Module]:
        below = chain.from_iterable(map(dict.values, map(_below, self._parents)))
        return [*root._modules.values(), *below]

    def _settings(self) -> dict[type[nn.Module], list[Any]]:
        return {kind: list(map(self.get[kind], these)) for kind, these in self._of_kind.items()}

    def __getstate__(self) -> dict[str, Any]:
        found = dict.fromkeys(("_own", "_parents", "_of_kind"))
        return {**self.__dict__, **found}  # a copy finds its own, once its modules are there


def constant_when_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have torch.compile call a function while tracing and take its result for a constant.

    As ``torch.compiler.assume_constant_result``, which imports torch._dynamo at once: 1.7 seconds.
    """
    function._dynamo_marked_constant = True
    return function
