"""Exchanging the class of a module, and with it what it computes, while it stays the same object.

Parameters, buffers, their names, hooks and optimisers are not touched; copying, pickling and the
replicas of DataParallel keep the class. The class is made from the module's own, so
``isinstance`` and ``super()`` in its code go on working.
"""

from __future__ import annotations

import copyreg
import functools
import inspect
import warnings
from abc import ABCMeta
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_NAME = "_acceleration"


def accelerated(module: nn.Module) -> Any:
    """Return how an accelerated module is computed, or None for another module."""
    return module.__dict__.get(_NAME)


def original_class(module: nn.Module) -> type[nn.Module]:
    """Return the class a module has without acceleration."""
    return type(module)._made_from[0] if accelerated(module) is not None else type(module)


def forwards_of(kind: type[nn.Module]) -> list[str]:
    """Return the methods by which modules are called: ``forward``, or others of other names.

    Some code has several in place of it, as ``forward_darts`` and ``forward_gdas``.

    Example:
        >>> forwards_of(nn.Linear)
        ['forward']
    """
    if kind.forward is not nn.Module.forward:
        return ["forward"]
    return [name for name in dir(kind) if name.startswith("forward_")]


def arguments_of(kind: type[nn.Module], method: str = "forward") -> dict[str, Any]:
    """Return what a method takes, with its defaults; nothing where it takes any number.

    Example:
        >>> arguments_of(nn.ConvTranspose1d)  # the input and an optional output_size
        {'input': <class 'inspect._empty'>, 'output_size': None}
    """
    parameters = list(inspect.signature(getattr(kind, method)).parameters.values())[1:]
    fixed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(parameter.kind not in fixed for parameter in parameters):
        return {}
    return {parameter.name: parameter.default for parameter in parameters}


def required(arguments: dict[str, Any]) -> int:
    """Return how many arguments have no default."""
    return sum(default is inspect.Parameter.empty for default in arguments.values())


def swap(module: nn.Module, plan: Any) -> None:
    """Give a module a class that overrides ``plan.methods(kind)`` of its own class ``kind``."""
    module.__class__ = _accelerated_class(type(module), type(plan))
    setattr(module, _NAME, plan)


def swap_back(module: nn.Module) -> None:
    """Give a module its own class again."""
    if accelerated(module) is not None:
        module.__class__ = original_class(module)
        del module.__dict__[_NAME]


class _Accelerated(ABCMeta):
    """The class of accelerated classes, which are pickled as what they were made from.

    What they are made from may be abstract base classes or not.

    Called, as in ``type(self)(...)``, they make what the original class makes: without a plan.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> nn.Module:
        return cls._made_from[0](*args, **kwargs)


@functools.cache
def _accelerated_class(kind: type[nn.Module], plan_class: type) -> type[nn.Module]:
    body = plan_class.methods(kind) | {
        "_made_from": (kind, plan_class),
        "__module__": kind.__module__,
        "__doc__": kind.__doc__,
    }
    return _Accelerated(kind.__name__, (kind,), body)


copyreg.pickle(_Accelerated, lambda made: (_accelerated_class, made._made_from))


class Computed:
    """A plan for the ``forward`` of a module: what plans for mixed operations and cells share.

    A plan has a ``level``, the number of its ``arguments``, ``reason_not_fused(module, *inputs)``
    and ``changed(module)``, the reasons for running the module's own code, and is called with the
    module and the inputs. ``method`` is what it computes, ``forward`` mostly. ``refused`` is why
    the last call, which it does not serve, ran the module's own code, or "". ``least_weight`` is
    that of the weights from which on it computes what that code does; with ``skips`` it leaves out
    those of weight 0, as that code does.
    """

    method = "forward"
    refused = ""
    told: frozenset[str] = frozenset()  # the reasons that were given in a warning
    least_weight = 0.0
    skips = False
    may_skip = True

    @staticmethod
    def methods(kind: type[nn.Module]) -> dict[str, Any]:
        """Make the methods of the accelerated class."""

        def extra_repr(self):
            plan = accelerated(self)
            state = plan.changed(self)
            own = kind.extra_repr(self)
            line = f"accelerated={plan.level if state is None else f'no ({state})'}"
            return f"{own}, {line}" if own else line

        forwards = {name: _forward(kind, name) for name in forwards_of(kind)}
        return {**forwards, "extra_repr": extra_repr}


def _forward(kind: type[nn.Module], method: str) -> Callable[..., Any]:
    """Make a method that computes by the module's plan where that serves the call."""
    arguments, own_code = arguments_of(kind, method), getattr(kind, method)

    def forward(self, *args, **kwargs):
        plan = accelerated(self)
        if plan.method != method:
            return own_code(self, *args, **kwargs)
        inputs, reason = _inputs(arguments, plan.arguments, args, kwargs)
        reason = reason or plan.reason_not_fused(self, *inputs)
        if reason is None:
            if plan.refused:
                plan.refused = ""
            return plan(self, *inputs)
        if not torch.compiler.is_compiling():
            plan.refused = "" if plan.changed(self) else reason
            if reason not in plan.told:
                plan.told |= {reason}
                message = f"accelerate: {kind.__name__} runs its own code: {reason}"
                warnings.warn(message, stacklevel=2)
        return own_code(self, *args, **kwargs)

    return forward


def reason_against_weights(plan: Computed, *weights: Tensor | None) -> str | None:
    """Return why other code, which leaves out candidates of small weight, has to run, or None."""
    for own in weights if plan.least_weight else ():
        if own is None:
            continue
        small = own.detach() < plan.least_weight
        if plan.skips:
            zero = own.detach() == 0
            if zero.all(-1).any():
                return "all candidates of an edge weigh 0"  # what it gives then is no feature map
            small &= ~zero
        if small.any():
            return "candidates of small weight are left out by its code"
    return None


def _inputs(
    arguments: dict[str, Any], count: int, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], str | None]:
    """Return the first ``count`` arguments of a call, and why they are not all that counts."""
    if len(args) == count and not kwargs:
        return args, None
    names = list(arguments)
    given = dict(zip(names, args, strict=False)) | kwargs
    inputs = tuple(given[name] for name in names[:count] if name in given)
    if len(inputs) < count:
        return (
            inputs,
            f"it was called without {', '.join(n for n in names[:count] if n not in given)}",
        )
    if len(args) > len(names):
        return inputs, "it was called with too many arguments"
    for name in names[count:]:
        value, default = given.get(name, arguments[name]), arguments[name]
        same = value is default or (isinstance(value, (int, float, str)) and value == default)
        if not same:
            return inputs, f"{name} is not {default!r}"
    return inputs, None
