"""How results are compared: against float64, with plain torch in the same precision as yardstick.

An operator may be at most twice as wrong as the plain torch sequence it replaces, both measured
against that sequence in float64. One unit in the last place is granted on top, of the size of the
terms that are summed (the result for absolute values): a sum of few terms can be exact by luck.
float64 itself is held to the yardstick of float32, scaled by the ratio of the two precisions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def run(
    function: Callable[..., Tensor], tensors: Sequence[Tensor], grad: Tensor, dtype: torch.dtype
) -> list[Tensor]:
    """Compute the result of ``function`` and its gradients in ``dtype``; layouts are kept."""
    leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in tensors]
    out = function(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad.to(dtype))]


def largest(tensor: Tensor) -> float:
    """Largest absolute value, 0 for an empty tensor."""
    return tensor.abs().max().item() if tensor.numel() else 0.0


def compare(
    operator: Callable[..., Tensor],
    reference: Callable[..., Tensor],
    tensors: Sequence[Tensor],
    grad: Tensor,
    sizes: Sequence[Tensor] | None = None,
) -> None:
    """Assert that result and gradients of ``operator`` are as good as those of ``reference``.

    ``sizes`` are those of the terms that are summed, where absolute values do not tell them.
    """
    dtype = tensors[0].dtype
    yardstick = torch.float32 if dtype == torch.float64 else dtype
    units = torch.finfo(dtype).eps / torch.finfo(yardstick).eps
    actual = run(operator, tensors, grad, dtype)
    plain = run(reference, tensors, grad, yardstick)
    exact = run(reference, [t.to(yardstick).double() for t in tensors], grad, torch.float64)
    double = dtype == torch.float64
    truth = run(reference, tensors, grad, torch.float64) if double else exact
    if sizes is None:
        sizes = run(reference, [t.abs() for t in tensors], grad.abs(), torch.float64)
    names = ["result", *(f"gradient {i}" for i in range(len(tensors)))]
    for name, a, p, e, t, size in zip(names, actual, plain, exact, truth, sizes, strict=True):
        assert a.shape == t.shape, f"{name}: {a.shape}, expected {t.shape}"
        assert a.dtype == dtype, f"{name}: {a.dtype}, expected {dtype}"
        allowed = 2 * units * largest(p.double() - e)
        allowed += torch.finfo(dtype).eps * max(largest(t), largest(size))
        wrong = largest(a.double() - t)
        assert wrong <= allowed, f"{name}: error {wrong:.3g}, allowed {allowed:.3g}"


def assert_exact(actual: dict[str, Tensor], truth: dict[str, Tensor]) -> None:
    """Assert that float64 results differ by no more than 1e-12 of the largest value of their kind.

    Names that differ in numbers only are of one kind.
    """
    assert actual.keys() == truth.keys()
    sizes: dict[str, float] = {}
    for name, expected in truth.items():
        kind = re.sub(r"\d+", "", name)
        sizes[kind] = max(sizes.get(kind, 0.0), largest(expected))
    for name, expected in truth.items():
        assert actual[name].shape == expected.shape, f"{name}: {actual[name].shape}"
        wrong = largest(actual[name] - expected)
        assert wrong <= 1e-12 * sizes[re.sub(r"\d+", "", name)], f"{name}: error {wrong:.3g}"


class Errors:
    """Errors of an operator and of plain torch, as root mean squares over several draws.

    With small tensors one draw can be lucky for plain torch, so the errors of all results of one
    kind in all draws are taken together. Each counts in units of its own size (at least a tenth of
    what is usual for its kind): behind an ill-conditioned BatchNorm gradients are a hundred times
    larger than elsewhere, and the luck of one of them would decide.
    """

    def __init__(self) -> None:
        self.results: dict[str, list[tuple[float, float, float]]] = {}

    def add(self, kind: str, actual: Tensor, plain: Tensor, truth: Tensor) -> None:
        """Count in one result of each."""
        assert actual.shape == truth.shape, f"{kind}: {actual.shape}, expected {truth.shape}"
        differences = (actual.double() - truth, plain.double() - truth, truth.double())
        squares = [difference.square().mean().item() for difference in differences]
        self.results.setdefault(kind, []).append(tuple(squares))

    def assert_at_most_twice(self) -> None:
        """Assert that the operator is at most twice as wrong as plain torch, kind by kind."""
        for kind, results in self.results.items():
            usual = sum(size for _, _, size in results) / len(results) or 1.0
            units = [max(size, usual / 100) for _, _, size in results]
            actual, plain = (
                sum(result[i] / unit for result, unit in zip(results, units, strict=True)) ** 0.5
                for i in range(2)
            )
            assert actual <= 2 * plain, f"{kind}: error {actual:.3g}, that of plain {plain:.3g}"
