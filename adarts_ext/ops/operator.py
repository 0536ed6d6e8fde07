"""What every public operator does around its own work: it takes only tensors, and explains errors.

Compiled operators have first derivatives, in backward passes. Who asks for more is told so here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

#: In what torch says where a compiled operator lacks a derivative: transforms, forward mode, and
#: several gradients at once.
_LACKING = ("setup_context", "jvp function", "Batching rule not implemented")
#: In what our libraries, or headers of torch, say of a failure that they know no words for.
_WORDLESS = ("torch failed in ", "API call failed at ")
#: How often torch had found no memory on the GPUs when that was last asked.
_ooms_seen = 0


def operator(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a public operator of a function, whose annotations tell which arguments are tensors.

    A sequence of tensors reaches the function as a list.

    Raises:
        TypeError: If something else is given for a tensor.
        RuntimeError: If a derivative is asked for that the operator lacks.
        torch.OutOfMemoryError: If a GPU has no memory left.
        MemoryError: If the CPU has none for the kernel itself; for results torch's RuntimeError.

    Example:
        >>> @operator
        ... def twice(x: Tensor) -> Tensor:
        ...     return 2 * x
        >>> twice([1.0])
        Traceback (most recent call last):
        ...
        TypeError: twice: x is of type list, expected torch.Tensor
    """
    name = function.__name__
    checks = [
        (position, parameter.name, _CHECKS[parameter.annotation])
        for position, parameter in enumerate(inspect.signature(function).parameters.values())
        if parameter.annotation in _CHECKS
    ]

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        if torch.compiler.is_compiling():
            return function(*arguments, **keywords)
        given = list(arguments)
        for position, parameter, check in checks:
            if position < len(given):
                if type(given[position]) is not Tensor:
                    given[position] = check(name, parameter, given[position])
            elif parameter in keywords:
                keywords[parameter] = check(name, parameter, keywords[parameter])
        try:
            return function(*given, **keywords)
        except RuntimeError as error:
            explained = _explain(name, error)
            if explained is None:
                raise
            raise explained from error

    return call


def once_differentiable(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate the backward pass of an operator, whose gradients have no derivatives.

    As torch's own, but the error comes wherever such a derivative is asked for that is not zero:
    torch's leaves it out, and so makes it zero, where the gradient that arrives has none itself.

    Args:
        name: The operator's, for the error.
    """

    def decorate(backward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(backward)
        def call(ctx, *grads):
            if torch.compiler.is_compiling():
                return backward(ctx, *grads)
            try:
                with torch.no_grad():
                    results = backward(ctx, *grads)
            except RuntimeError as error:
                explained = _explain(name, error)
                if explained is None:
                    raise
                raise explained from error
            return _without_derivative(name, ctx, grads, results)

        return call

    return decorate


def check_tensor(owner: str, name: str, value: Any, expected: str = "torch.Tensor") -> Tensor:
    """Return ``value``; raise TypeError unless it is a tensor, naming what was ``expected``."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{owner}: {name} is of type {type(value).__name__}, expected {expected}")
    return value


def _check_optional(owner: str, name: str, value: Any) -> Tensor | None:
    return None if value is None else check_tensor(owner, name, value, "torch.Tensor or None")


def _check_sequence(owner: str, name: str, value: Any) -> list[Tensor]:
    try:
        tensors = list(value)
    except TypeError:
        tensors = None
    if tensors is None:
        check_tensor(owner, name, value, "a sequence of torch.Tensor")
    for i, tensor in enumerate(tensors):
        if type(tensor) is not Tensor:
            check_tensor(owner, f"{name}[{i}]", tensor)
    return tensors


#: By the annotation of an argument.
_CHECKS = {
    "Tensor": check_tensor,
    "Tensor | None": _check_optional,
    "Sequence[Tensor]": _check_sequence,
}


class _WithoutDerivative(torch.autograd.Function):
    """A gradient as it is, and what it depends on; differentiating it is an error."""

    @staticmethod
    def forward(ctx, name, grad, *sources):
        ctx.name = name
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError(_lacks_derivative(ctx.name))


def _without_derivative(name: str, ctx: Any, grads: Sequence[Tensor | None], results: Any) -> Any:
    """Make an error of the derivatives of ``results``, where there is a graph and they have any."""
    if not torch.is_grad_enabled():
        return results
    sources = [*grads, *ctx.saved_tensors]
    sources = [source for source in sources if source is not None and source.requires_grad]

    def mark(result: Any) -> Any:
        if isinstance(result, list | tuple):
            return type(result)(map(mark, result))
        return None if result is None else _WithoutDerivative.apply(name, result, *sources)

    return mark(results) if sources else results


def _explain(name: str, error: RuntimeError) -> Exception | None:
    """Return the error that says in our words, or by the right class, what happened; or None.

    Torch's stable ABI passes on the words of an error, but not its class; before torch 2.13 it does
    not pass on the words either.
    """
    text = str(error)
    if any(words in text for words in _LACKING):
        return RuntimeError(_lacks_derivative(name))
    if isinstance(error, torch.OutOfMemoryError):
        return None
    if "CUDA out of memory" in text:
        return torch.OutOfMemoryError(text)
    if any(words in text for words in _WORDLESS) and _memory_ran_out():
        return torch.OutOfMemoryError(f"{name}: CUDA out of memory")
    if text == "std::bad_alloc":  # in one of several threads
        return MemoryError(text)
    return None


def _memory_ran_out() -> bool:
    """Return whether torch has found no memory on a GPU since this was last asked."""
    global _ooms_seen
    if not torch.cuda.is_initialized():
        return False
    devices = range(torch.cuda.device_count())
    found = sum(torch.cuda.memory_stats(device).get("num_ooms", 0) for device in devices)
    more, _ooms_seen = found > _ooms_seen, found
    return more


def _lacks_derivative(name: str) -> str:
    return (
        f"{name}: the compiled operator has first derivatives in backward passes only, not second "
        "ones, forward mode, several gradients at once or transforms of torch.func; "
        f'adarts_ext.reference.{name} has them, and a network with backend="reference" or restored '
        "by adarts_ext.restore"
    )
