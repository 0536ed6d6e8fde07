"""Running a batch through a whole model both ways."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from adarts_ext.compat.swap import swap_back
from adarts_ext.same_draws import same_draws

BATCHES = 3
_TIMES = 4.0  # how much further than the plain model's the results may be from those in float64


def verify_same(model: nn.Module, images: Tensor | None) -> None:
    """Raise ValueError with figures unless an accelerated model computes what it did before.

    Outputs and gradients of the accelerated and of the plain model, in the model's own precision,
    are compared with those of the plain model in float64, as distances relative to their size; the
    first may be 4 times as far as the second. A channel attention chooses channels by scores that
    may nearly tie, where rounding decides; so one of 3 batches has to agree.

    Args:
        model: The accelerated model; it is not changed.
        images: The batch, or None for random ones.
    """
    figures = ""
    for seed in range(BATCHES if images is None else 1):
        batch = _random_images(model, seed) if images is None else images
        found = distances(model, model, batch)
        floor = 16 * torch.finfo(batch.dtype).eps
        if all(own <= max(_TIMES * before, floor) for own, before in found.values()):
            return
        figures = "; ".join(
            f"{name} {own:.1e} accelerated, {before:.1e} before"
            for name, (own, before) in found.items()
        )
    raise ValueError(
        "accelerate: the accelerated model differs from the model: relative distances to float64: "
        f"{figures}. The model was left as it was"
    )


def distances(
    model: nn.Module, accelerated: nn.Module, images: Tensor
) -> dict[str, tuple[float, float]]:
    """Return how far an accelerated model and its original are from the original in float64.

    Args:
        model: The original; it is copied, and the copy's acceleration undone.
        accelerated: The accelerated model; it is copied.
        images: The batch.

    Returns:
        By what is compared (outputs, gradients of weights, gradients of architecture parameters)
        the distances of the accelerated model and of the original: root mean squares over tensors,
        each in units of its size.
    """
    exact = _run(_plain(model).double(), images.double())
    before, ours = _run(_plain(model), images), _run(copy.deepcopy(accelerated), images)
    return {
        name: (_distance(ours[name], exact[name]), _distance(before[name], exact[name]))
        for name in exact
    }


def _plain(model: nn.Module) -> nn.Module:
    made = copy.deepcopy(model)
    for module in made.modules():
        swap_back(module)
    return made


def _random_images(model: nn.Module, seed: int) -> Tensor:
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None:
        raise ValueError("accelerate: verify: the model has no convolution; give images instead")
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(8, first.in_channels, 64, 64, generator=generator)
    return images.to(first.weight)


def _run(model: nn.Module, images: Tensor) -> dict[str, list[Tensor]]:
    """Return outputs, and gradients of weights and of architecture parameters."""
    model.train()
    arch = list(model.arch_parameters()) if hasattr(model, "arch_parameters") else []
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    with same_draws(), torch.enable_grad():
        outputs = model(images)
        outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
        generator = torch.Generator().manual_seed(0)
        loss = sum((y * torch.randn(y.shape, generator=generator).to(y)).sum() for y in outputs)
        grads = torch.autograd.grad(loss, [*weights, *arch], allow_unused=True)
    made = {"outputs": [y.detach() for y in outputs], "gradients of weights": grads[: len(weights)]}
    if arch:
        made["gradients of architecture parameters"] = grads[len(weights) :]
    return made


def _distance(some: list[Tensor | None], exact: list[Tensor | None]) -> float:
    """Root mean square over tensors of their distances in units of their sizes.

    Some gradients vanish but for rounding, as before a BatchNorm of one channel; a size is at least
    1 % of the largest, so that they do not count by themselves.
    """
    sizes = [0.0 if tensor is None else _size(tensor.double()) for tensor in exact]
    least = 1e-2 * max(sizes, default=0.0)
    squares = []
    for a, b, size in zip(some, exact, sizes, strict=True):
        if a is None or b is None:
            squares.append(0.0 if a is b else 1.0)
            continue
        error, size = _size(a.double() - b.double()), max(size, least)
        squares.append((error / size) ** 2 if size else float(error > 0))
    return (sum(squares) / max(1, len(squares))) ** 0.5


def _size(x: Tensor) -> float:
    """Root mean square over elements."""
    return float(x.square().mean().sqrt()) if x.numel() else 0.0
