"""What an accelerated module relies on, kept to notice when it no longer holds."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from adarts_ext.nn.unchanged import AsBuilt, Attributes

_SCALARS = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
# Torch's own: hooks set some of them, DataParallel the last two.
_TORCHS = {*vars(nn.Module()), "_is_replica", "_former_parameters"}

_LIBRARIES = {"torch", "numpy", *sys.stdlib_module_names}
_OTHER = object()  # what is no number or string


class Watch:
    """A module's parts, its plain attributes and what its code reads besides, as they are now.

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
        self.attributes = plain_attributes(vars(module))
        self.outside = {
            kind: surroundings(kind) for kind in map(_as_written, {*parts, type(module)})
        }

    def change(self, module: nn.Module) -> str | None:
        """Return what has changed, or None."""
        if plain_attributes(vars(module)) != self.attributes:
            return f"an attribute of {type(module).__name__} was changed"
        for kind, before in self.outside.items():
            now = surroundings(kind)
            if now != before:
                names = now.keys() | before.keys()
                name = min(n for n in names if now.get(n, _OTHER) != before.get(n, _OTHER))
                return f"{name}, which the code of {kind.__name__} reads, was changed"
        built = self.built
        if is_replica(module):  # of DataParallel: the same structure of other modules
            built = AsBuilt(module, self.settings)
            if built.classes != self.built.classes or built.settings != self.built.settings:
                return "a layer was changed"
        return built.change(module)


def is_replica(module: nn.Module) -> bool:
    """Return whether ``torch.nn.DataParallel`` made this module for one forward pass."""
    return module.__dict__.get("_is_replica", False)


def plain_attributes(attributes: Attributes) -> dict[str, Any]:
    """Return the numbers and strings, alone or in containers, that a module may compute by."""
    return {
        name: value if isinstance(value, _SCALARS) else repr(value)
        for name, value in attributes.items()
        if name not in _TORCHS and _is_plain(value)
    }


def has_other_attributes(module: nn.Module) -> bool:
    """Return whether a module may compute by something else: a tensor, a function, an object."""
    return any(name not in _TORCHS and not _is_plain(v) for name, v in module.__dict__.items())


def kept_results(module: nn.Module) -> str | None:
    """Return the name of an attribute that holds what a forward pass has computed, or None."""
    for part in module.modules():
        for name, value in part.__dict__.items():
            if any(isinstance(x, Tensor) and x.grad_fn is not None for x in _members(value)):
                return f"{type(part).__name__}.{name}" if name not in _TORCHS else None
    return None


def kept_state(module: nn.Module) -> dict[tuple[str, int], Any]:
    """Return what a forward pass may leave behind, by its name; changes compare as unequal.

    These are all attributes of the modules below a module, and what their code reads besides.
    """
    found: dict[tuple[str, int], Any] = {}
    for part in module.modules():
        for name, value in part.__dict__.items():
            if name not in _TORCHS:
                found[f"{type(part).__name__}.{name}", id(part)] = value
        for name, read in _readings(_as_written(type(part))):
            found[name, id(type(part))] = read()
    # An object that is held cannot give its id to another one.
    return {
        key: repr(value) if _is_plain(value) else tuple((id(x), x) for x in _members(value))
        for key, value in found.items()
    }


def surroundings(kind: type[nn.Module]) -> dict[str, Any]:
    """Return the numbers and strings outside a module that the code of its class reads, by name.

    They are attributes of the class, globals, attributes of global objects, and what functions
    enclose; read by ``forward`` and by the functions of other code that it calls.

    Example:
        >>> class Scaled(nn.Identity):
        ...     scale = 2.0
        ...     def forward(self, x):
        ...         return x * self.scale
        >>> surroundings(Scaled)
        {'Scaled.scale': 2.0}
    """
    found = {}
    for name, read in _readings(kind):
        value = read()
        if _is_plain(value):
            found[name] = value if isinstance(value, _SCALARS) else repr(value)
    return found


@functools.cache
def _readings(kind: type[nn.Module]) -> list[tuple[str, Callable[[], Any]]]:
    """Return how to read all that the code of a class may compute by, without calling it."""
    classes = [each for each in kind.__mro__ if not _is_of_library(each.__module__)]
    found: dict[str, Callable[[], Any]] = {}
    functions = set()
    left = [value for each in classes for name, value in vars(each).items() if "forward" in name]
    while left:
        function = inspect.unwrap(left.pop())
        if not isinstance(function, FunctionType) or function in functions:
            continue
        functions.add(function)
        names = _names(function.__code__)
        for each in classes:
            for name in names & vars(each).keys():
                member = inspect.getattr_static(each, name)
                left.append(getattr(member, "__func__", getattr(member, "fget", member)))
                found[f"{each.__name__}.{name}"] = partial(_get, each, name)
        for name in names & function.__globals__.keys():
            value = function.__globals__[name]
            if isinstance(value, (type, FunctionType)) and _is_of_library(value.__module__):
                continue
            if isinstance(value, ModuleType) and _is_of_library(value.__name__):
                continue
            left.append(value)
            found[name] = partial(function.__globals__.get, name)
            for attribute in names & getattr(value, "__dict__", {}).keys():
                found[f"{name}.{attribute}"] = partial(_get_of, found[name], attribute)
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            found[name] = partial(_get, cell, "cell_contents")
    return sorted(found.items())


def _get(holder: object, name: str) -> Any:
    return getattr(holder, name, _OTHER)


def _get_of(read: Callable[[], Any], name: str) -> Any:
    return getattr(read(), name, _OTHER)


def _names(code: CodeType) -> set[str]:
    """Return all names that code mentions, with those of functions inside it."""
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*inner)


def _is_of_library(module: str) -> bool:
    return module.partition(".")[0] in _LIBRARIES


def _as_written(kind: type[nn.Module]) -> type[nn.Module]:
    """Return what an accelerated class was made from, and other classes as they are."""
    return getattr(kind, "_made_from", (kind,))[0]


def _members(value: object) -> list[Any]:
    if isinstance(value, dict):
        return [value, *value.values()]
    return [value, *value] if isinstance(value, (list, tuple)) else [value]


def _is_plain(value: object) -> bool:
    if isinstance(value, _SCALARS):
        return True
    if isinstance(value, dict):
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    return isinstance(value, (tuple, list, set, frozenset)) and all(map(_is_plain, value))
