"""Trying out whether the fused kernels compute what a module's own code computes.

A structure suggests a computation; the code may still do another. So a copy of the module runs
both ways in float64, on random inputs and with random weights, in training and in evaluation;
output, all gradients and all buffers must agree to rounding, and no gradient may be None on one
side only. The module itself is not touched.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from adarts_ext.compat.watch import kept_state
from adarts_ext.same_draws import same_draws

BATCH, SIZE = 5, 8
RAISED = "its code raised"
#: Weights that code may leave out: `if abs(w) > 1e-10` and so on.
LEAST_WEIGHTS = (1e-20, 1e-8, 1e-4)
_ROUNDING = 1e-9  # of the largest value of a tensor; float64 keeps 1e-16, and layers amplify it


class Probe:
    """A copy of a module to try things with.

    Args:
        module: The module.
        shapes: Of the feature maps among the inputs of its ``forward``.
        vectors: Of the weights that follow them; a list of shapes for a list of tensors.
        method: Which of its methods is tried.
    """

    def __init__(
        self,
        module: nn.Module,
        shapes: Sequence[tuple[int, ...]],
        vectors: Sequence[tuple[int, ...] | list[tuple[int, ...]]],
        method: str = "forward",
    ) -> None:
        self.copy = copy.deepcopy(module).double()
        self.shapes = shapes
        self.vectors = vectors
        for part in self.copy.modules():
            for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
                getattr(part, name).clear()
        for parameter in self.copy.parameters():
            parameter.requires_grad_().grad = None
        self.own = getattr(self.copy, method)

    def output(self) -> object:
        """Run the module's own code once, in training, and give its output."""
        self._reset(0)
        with same_draws():
            self.copy.train()
            return self.own(*self._arguments(self._inputs(0, None)))

    def difference(self, computed: Callable[..., Tensor]) -> str | None:
        """Return how the module's own code differs from ``computed``, or None if it does not.

        Args:
            computed: Called with the copy and the inputs.
        """
        # Another way to select channels may select the same ones by chance. The mixed operations of
        # a cell are tried out one by one before, so cells need fewer draws.
        for seed in range(8 if len(self.shapes) == 1 else 2):
            reason = self._difference(computed, seed, seed % 2 == 0, None)
            if reason:
                return reason
        return None

    def least_weight(self, computed: Callable[..., Tensor]) -> float | None:
        """Return from which weights above 0 on the module's own code is ``computed``, or None."""
        return next((least for least in LEAST_WEIGHTS if self.agrees(computed, least)), None)

    def agrees(self, computed: Callable[..., Tensor], least: float) -> bool:
        """Return whether both compute the same where some weights are ``least``."""
        seeds = range(2 if len(self.shapes) == 1 else 1)  # a cell has rows of both kinds
        return not any(self._difference(computed, seed, True, least) for seed in seeds)

    def _difference(
        self, computed: Callable[..., Tensor], seed: int, training: bool, least: float | None
    ) -> str | None:
        self.copy.train(training)
        before = kept_state(self.copy)
        try:
            own = self._run(None, seed, least)
        except Exception as error:  # other code may raise anything
            return raised(error)
        after = kept_state(self.copy)
        for key in after.keys() | before.keys():
            if key not in after or key not in before or after[key] != before[key]:
                return f"its forward sets {key[0]}, which the kernels would not"
        try:
            ours = self._run(computed, seed, least)
        except (ValueError, TypeError, RuntimeError, IndexError) as error:
            return f"the kernels refuse it: {first_line(error)}"
        difference = _compare(own, ours)
        return difference and f"its code computes something else: {difference}"

    def _reset(self, seed: int) -> None:
        """Give the copy weights and statistics such that no channel attention is at rest."""
        parameters, buffers = list(self.copy.parameters()), dict(self.copy.named_buffers())
        sizes = [tensor.numel() for tensor in (*parameters, *buffers.values())]
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand(sum(sizes), generator=generator, dtype=torch.float64).split(sizes)
        values = iter(drawn)
        with torch.no_grad():
            for parameter in parameters:
                # More positive than negative, so that an attention's hidden units are active; and
                # small, so that its scores are neither 0 nor 1.
                value = next(values).sub_(0.4).div_(max(1, parameter[0].numel()))
                parameter.copy_(value.view(parameter.shape))
            for name, buffer in buffers.items():
                value = next(values).view(buffer.shape)
                if buffer.is_floating_point():
                    buffer.copy_(value.add_(0.5) if "var" in name else value.sub_(0.5))
                else:
                    buffer.zero_()

    def _inputs(self, seed: int, least: float | None) -> list[Tensor]:
        """Draw feature maps of different means: images should disagree on the best channels.

        The weights are those of a softmax; with ``least`` in turn one of them is 1 and the others
        are that, or every other one is.
        """
        generator = torch.Generator().manual_seed(seed)
        device = next((p.device for p in self.copy.parameters()), torch.device("cpu"))
        vectors = [v if isinstance(v, list) else [v] for v in self.vectors]
        drawn = [
            torch.randn(shape, generator=generator, dtype=torch.float64)
            for shape in itertools.chain(self.shapes, *vectors)
        ]
        count = len(self.shapes)
        for x in drawn[:count]:
            means = torch.randn(*x.shape[:2], 1, 1, generator=generator, dtype=torch.float64)
            x.add_(means, alpha=4)
        made = drawn[:count]
        for vector in drawn[count:]:
            weights = vector.softmax(dim=-1)
            if least is not None:
                rows = weights.reshape(-1, weights.size(-1))
                rows[seed % 2 :: 2, seed::2] = least
                for row in rows[1 - seed % 2 :: 2]:
                    one = int(row.argmax())
                    row.fill_(least)[one] = 1.0
            made.append(weights)
        return [tensor.to(device).requires_grad_() for tensor in made]

    def _arguments(self, inputs: list[Tensor]) -> list[Tensor | list[Tensor]]:
        """Return the inputs as they are given: some weights in a list."""
        left = iter(inputs)
        arguments: list[Tensor | list[Tensor]] = [next(left) for _ in self.shapes]
        for vector in self.vectors:
            one = isinstance(vector, tuple)
            arguments.append(next(left) if one else [next(left) for _ in vector])
        return arguments

    def _run(
        self, computed: Callable[..., Tensor] | None, seed: int, least: float | None
    ) -> dict[str, Tensor | None]:
        """Return output, gradients and buffers, of the module's own code or of another."""
        self._reset(seed)
        inputs = self._inputs(seed, least)
        with same_draws(seed=seed), torch.enable_grad():
            arguments = self._arguments(inputs)
            y = self.own(*arguments) if computed is None else computed(self.copy, *arguments)
            if not isinstance(y, Tensor):
                raise TypeError(f"the output is a {type(y).__name__}, not a tensor")
            generator = torch.Generator().manual_seed(seed)
            cotangent = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.device)
            sources = {f"input {i}": x for i, x in enumerate(inputs)}
            sources |= dict(self.copy.named_parameters())
            grads = torch.autograd.grad(y, list(sources.values()), cotangent, allow_unused=True)
        result = {"output": y.detach()}
        result |= {f"gradient of {name}": grad for name, grad in zip(sources, grads, strict=True)}
        return result | {name: buffer.clone() for name, buffer in self.copy.named_buffers()}


def _compare(own: dict[str, Tensor | None], ours: dict[str, Tensor | None]) -> str | None:
    largest = max(float(g.abs().max()) for k, g in own.items() if g is not None and "gradi" in k)
    for name, expected in own.items():
        got = ours[name]
        if expected is None or got is None:
            if expected is not got:
                return f"{name} is there in one of both only"
            continue
        if expected.shape != got.shape:
            return f"{name} has shape {tuple(expected.shape)}, not {tuple(got.shape)}"
        expected, got = expected.double(), got.double()
        error = float((expected - got).abs().max()) if expected.numel() else 0.0
        size = float(expected.abs().max()) if expected.numel() else 0.0
        floor = 1e-3 * largest if "gradient" in name else 0.0
        if not error <= _ROUNDING * max(size, floor):
            return f"{name} differs by {error:.1e} of {size:.1e}"
    return None


def raised(error: Exception) -> str:
    """Say that a module's own code raised an error."""
    return f"{RAISED} {type(error).__name__}: {first_line(error)}"


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).splitlines() or [""])[0]
