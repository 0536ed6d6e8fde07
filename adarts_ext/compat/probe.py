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


def difference(
    module: nn.Module,
    computed: Callable[..., Tensor],
    shapes: Sequence[tuple[int, ...]],
    vectors: Sequence[tuple[int, ...]],
) -> str | None:
    """Say how a module's own code differs from ``computed``, or None if it does not.

    Args:
        module: The module.
        computed: Called with a copy of the module and its inputs.
        shapes: Of the feature maps among its inputs.
        vectors: Of the weights that follow, in the shape before their softmax.
    """
    # Another way to select channels may select the same ones by chance. The mixed operations of a
    # cell select each for itself, so cells need fewer draws.
    for seed in range(8 if len(shapes) == 1 else 4):
        training = seed % 2 == 0
        inputs = _inputs(module, shapes, vectors, seed)
        try:
            own = _run(_copy(module, seed, training), None, inputs, seed)
        except Exception as error:  # other code may raise anything
            return raised(error)
        try:
            ours = _run(_copy(module, seed, training), computed, inputs, seed)
        except (ValueError, TypeError, RuntimeError, IndexError) as error:
            return f"the kernels refuse it: {first_line(error)}"
        reason = _compare(own, ours)
        if reason:
            return reason
    return None


def output(module: nn.Module, shapes, vectors) -> tuple[object, nn.Module]:
    """Run a copy of the module once, in training, and give its output and the copy."""
    made = _copy(module, 0, True)
    with torch.random.fork_rng():
        return made(*_inputs(module, shapes, vectors, 0)), made


def _copy(module: nn.Module, seed: int, training: bool) -> nn.Module:
    """Copy a module in float64, with weights such that no channel attention is at rest."""
    made = copy.deepcopy(module).double().train(training)
    for part in made.modules():
        for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
            getattr(part, name).clear()
    generator = torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        values = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
        # More positive than negative, so that an attention's hidden units are active; and small, so
        # that its scores are neither 0 nor 1.
        fan_in = max(1, parameter[0].numel())
        parameter.data = ((values - 0.4) / fan_in).to(parameter.device)
        parameter.grad = None
        parameter.requires_grad_()
    for name, buffer in made.named_buffers():
        if buffer.is_floating_point():
            values = torch.rand(buffer.shape, generator=generator, dtype=torch.float64) + 0.5
            buffer.copy_(values if "var" in name else values - 1)
    return made


def _inputs(module: nn.Module, shapes, vectors, seed: int) -> list[Tensor]:
    """Draw feature maps whose means differ, so that images disagree on the channels to select."""
    generator = torch.Generator().manual_seed(seed)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    made = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    for x in made:
        means = torch.randn(*x.shape[:2], 1, 1, generator=generator, dtype=torch.float64)
        x.add_(means, alpha=4)
    for shape in vectors:
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
        made.append(drawn.softmax(dim=-1))
    return [tensor.to(device).requires_grad_() for tensor in made]


def _run(module: nn.Module, computed, inputs: list[Tensor], seed: int) -> dict[str, Tensor | None]:
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        y = module(*inputs) if computed is None else computed(module, *inputs)
        if not isinstance(y, Tensor):
            raise TypeError(f"the output is {type(y).__name__}, not a tensor")
        generator = torch.Generator().manual_seed(seed)
        cotangent = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.device)
        sources = {f"input {i}": x for i, x in enumerate(inputs)} | dict(module.named_parameters())
        grads = torch.autograd.grad(y, list(sources.values()), cotangent, allow_unused=True)
    result = {"output": y.detach()}
    result |= {f"gradient of {name}": grad for name, grad in zip(sources, grads, strict=True)}
    return result | {name: buffer for name, buffer in module.named_buffers()}


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
