"""Trying out whether the fused kernels compute what a module's own code computes.

A structure suggests a computation; the code may still do another. So a copy of the module runs
both ways in float64, on random inputs and with random weights, in training and in evaluation;
output, all gradients and all buffers must agree to rounding. The module itself is not touched.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

BATCH, SIZE = 5, 8
RAISED = "its forward raised"
_ROUNDING = 1e-9  # of the largest value of a tensor; float64 keeps 1e-16, and layers amplify it


class Probe:
    """A copy of a module to try things with.

    Args:
        module: The module.
        shapes: Of the feature maps among the inputs of its ``forward``.
        vectors: Of the weights that follow them.
    """

    def __init__(
        self,
        module: nn.Module,
        shapes: Sequence[tuple[int, ...]],
        vectors: Sequence[tuple[int, ...]],
    ) -> None:
        self.copy = copy.deepcopy(module).double()
        self.shapes = shapes
        self.vectors = vectors
        for part in self.copy.modules():
            for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
                getattr(part, name).clear()
        for parameter in self.copy.parameters():
            parameter.requires_grad_().grad = None

    def output(self) -> object:
        """Run the module's own code once, in training, and give its output."""
        self._reset(0)
        with torch.random.fork_rng():
            return self.copy.train()(*self._inputs(0))

    def difference(self, computed: Callable[..., Tensor]) -> str | None:
        """Return how the module's own code differs from ``computed``, or None if it does not.

        Args:
            computed: Called with the copy and the inputs.
        """
        # Another way to select channels may select the same ones by chance. The mixed operations of
        # a cell are tried out one by one before, so cells need fewer draws.
        for seed in range(8 if len(self.shapes) == 1 else 2):
            self.copy.train(seed % 2 == 0)
            try:
                own = self._run(None, seed)
            except Exception as error:  # other code may raise anything
                return raised(error)
            try:
                ours = self._run(computed, seed)
            except (ValueError, TypeError, RuntimeError, IndexError) as error:
                return f"the kernels refuse it: {first_line(error)}"
            reason = _compare(own, ours)
            if reason:
                return reason
        return None

    def _reset(self, seed: int) -> None:
        """Give the copy weights and statistics such that no channel attention is at rest."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.copy.parameters():
                values = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
                # More positive than negative, so that an attention's hidden units are active; and
                # small, so that its scores are neither 0 nor 1.
                parameter.copy_((values - 0.4) / max(1, parameter[0].numel()))
            for name, buffer in self.copy.named_buffers():
                if buffer.is_floating_point():
                    values = torch.rand(buffer.shape, generator=generator, dtype=torch.float64)
                    buffer.copy_(values + 0.5 if "var" in name else values - 0.5)
                else:
                    buffer.zero_()

    def _inputs(self, seed: int) -> list[Tensor]:
        """Draw feature maps of different means: images should disagree on the best channels."""
        generator = torch.Generator().manual_seed(seed)
        device = next((p.device for p in self.copy.parameters()), torch.device("cpu"))
        drawn = [
            torch.randn(shape, generator=generator, dtype=torch.float64)
            for shape in (*self.shapes, *self.vectors)
        ]
        count = len(self.shapes)
        for x in drawn[:count]:
            means = torch.randn(*x.shape[:2], 1, 1, generator=generator, dtype=torch.float64)
            x.add_(means, alpha=4)
        made = [*drawn[:count], *(vector.softmax(dim=-1) for vector in drawn[count:])]
        return [tensor.to(device).requires_grad_() for tensor in made]

    def _run(self, computed: Callable[..., Tensor] | None, seed: int) -> dict[str, Tensor | None]:
        """Return output, gradients and buffers, of the module's own code or of another."""
        self._reset(seed)
        inputs = self._inputs(seed)
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(seed)
            y = self.copy(*inputs) if computed is None else computed(self.copy, *inputs)
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
            expected, got = (torch.zeros(()) if t is None else t for t in (expected, got))
            if expected.any() or got.any():
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
