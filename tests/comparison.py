"""How results are compared: against float64, with plain torch in the same precision as yardstick.

An operator may be at most twice as wrong as the plain torch sequence it replaces, both measured
against that sequence in float64. One unit in the last place is granted on top, of the size of the
terms that are summed (the result for absolute values): a sum of few terms can be exact by luck.
float64 itself is held to the yardstick of float32, scaled by the ratio of the two precisions.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Iterator, Sequence

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

    Plain torch is lucky with one draw in a hundred of a small tensor. Where the numbers that are
    given fail, the median over them and eight more draws decides, each of the same numbers and
    layouts times a random factor for each tensor, which rounds all of them anew.

    ``sizes`` are those of the terms that are summed, where absolute values do not tell them.
    """
    shares = _shares(operator, reference, tensors, grad, sizes)
    if max(shares.values()) > 1:
        draws = [shares]
        for _ in range(8):
            scaled = [_scaled(tensor) for tensor in (*tensors, grad)]
            draws.append(_shares(operator, reference, scaled[:-1], scaled[-1], sizes))
        shares = {name: statistics.median(draw[name] for draw in draws) for name in shares}
    for name, share in shares.items():
        assert share <= 1, f"{name}: error {share:.3g} times the one allowed"


def _scaled(tensor: Tensor) -> Tensor:
    """Multiply a tensor by a number from 1/2 to 1, and leave it where it lies in its memory."""
    memory = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    memory = memory.set_(tensor.detach().untyped_storage()) * (1 - torch.rand(()).item() / 2)
    return memory.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def _shares(
    operator: Callable[..., Tensor],
    reference: Callable[..., Tensor],
    tensors: Sequence[Tensor],
    grad: Tensor,
    sizes: Sequence[Tensor] | None,
) -> dict[str, float]:
    """Return which part of the error allowed the result has, and every gradient."""
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
    shares = {}
    for name, a, p, e, t, size in zip(names, actual, plain, exact, truth, sizes, strict=True):
        assert a.shape == t.shape, f"{name}: {a.shape}, expected {t.shape}"
        assert a.dtype == dtype, f"{name}: {a.dtype}, expected {dtype}"
        allowed = 2 * units * largest(p.double() - e)
        allowed += torch.finfo(dtype).eps * max(largest(t), largest(size))
        wrong = largest(a.double() - t)
        shares[name] = wrong / allowed if allowed else math.inf if wrong else 0.0
    return shares


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
    """Errors of an operator and of plain torch over several draws of all operands.

    With small tensors one draw can be lucky for either, and where rounding decides over a ReLU or
    a maximum one of them can be hundreds of times as wrong. So it is the median over the draws
    that may be at most twice plain torch's. Within a draw the errors of all results of one kind are
    taken together, as root mean square. Each counts in units of its own size (at least a tenth of
    what is usual for its kind): behind an ill-conditioned BatchNorm gradients are a hundred times
    larger than elsewhere, and the luck of one of them would decide.

    Drawing ends when, for every kind, the draws that are at most twice as wrong lead the others by
    ``LEAD``, or after ``MOST`` draws.

    How likely is a false alarm? The logarithm of the ratio of two errors in one draw deviates by at
    most 0.6 (measured: logits of one image; gradients half as much). With a true ratio of 1.2 four
    draws in five are at most twice as wrong: eight draws on average decide, and ``MOST`` of them
    fail with a probability of one in a million. A true ratio of 3, which must not pass, does so in
    four of a thousand cases for those logits, and in one of a hundred thousand for gradients.
    """

    BOUND = 2.0
    LEAD, MOST = 5, 49

    def __init__(self) -> None:
        self.draws: list[dict[str, list[tuple[float, float, float]]]] = []

    def until_clear(self) -> Iterator[int]:
        """Give a seed for every draw, until the draws tell, or ``MOST`` are made."""
        first = torch.initial_seed()  # that of the run
        for draw in range(self.MOST):
            self.draws.append({})
            yield first + draw
            leads = (
                sum(1 if ratio <= self.BOUND else -1 for ratio in self._ratios(kind))
                for kind in self._kinds()
            )
            if min(leads) >= self.LEAD:
                return

    def add(self, kind: str, actual: Tensor, plain: Tensor, truth: Tensor) -> None:
        """Count in one result of each."""
        assert actual.shape == truth.shape, f"{kind}: {actual.shape}, expected {truth.shape}"
        assert torch.equal(actual.isfinite(), truth.isfinite()), f"{kind}: infinite or no number"
        differences = (actual.double() - truth, plain.double() - truth, truth.double())
        squares = [difference.square().mean().item() for difference in differences]
        self.draws[-1].setdefault(kind, []).append(tuple(squares))

    def ratios(self) -> dict[str, float]:
        """Return how many times as wrong as plain torch each kind of result is: medians."""
        return {kind: statistics.median(self._ratios(kind)) for kind in self._kinds()}

    def _kinds(self) -> list[str]:
        return list(dict.fromkeys(kind for draw in self.draws for kind in draw))

    def _ratios(self, kind: str) -> list[float]:
        draws = [draw[kind] for draw in self.draws if kind in draw]
        sizes = [size for draw in draws for _, _, size in draw]
        usual = sum(sizes) / len(sizes) or 1.0
        ratios = []
        for draw in draws:
            actual, plain = (
                sum(result[i] / max(result[2], usual / 100) for result in draw) for i in range(2)
            )
            ratios.append(math.sqrt(actual / plain) if plain else math.inf if actual else 0.0)
        return ratios

    def assert_at_most_twice(self) -> None:
        """Assert that the operator is at most twice as wrong as plain torch, kind by kind."""
        for kind, ratio in self.ratios().items():
            assert ratio <= self.BOUND, f"{kind}: {ratio:.3g} times as wrong as plain torch"
