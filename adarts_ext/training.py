"""What searching and retraining have in common: options, device, seeds, accuracy, evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def check_range(
    name: str, value: float, low: float, high: float = math.inf, *, above: bool = False
) -> None:
    """Refuse an option whose value is out of its range.

    Args:
        name: what the option is called.
        value: its value.
        low: the smallest value allowed.
        high: the largest value allowed.
        above: whether ``low`` itself is refused too.

    Raises:
        ValueError: ``value`` is not a number in the range.

    Example:
        >>> check_range("epochs", 0, 1)
        Traceback (most recent call last):
        ...
        ValueError: epochs: expected at least 1, got 0
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and low <= value <= high and not (above and value == low):
        return
    expected = f"{'above' if above else 'at least'} {low}"
    if high != math.inf:
        expected += f" and at most {high}"
    raise ValueError(f"{name}: expected {expected}, got {value!r}")


def resolve_device(name: str = "auto") -> torch.device:
    """Turn the name of a device into a device that is there.

    Args:
        name: ``"auto"`` (CUDA where there is one, else the CPU), ``"cpu"``, ``"cuda"`` or
            ``"cuda:1"`` and so on.

    Raises:
        ValueError: the name is none of these, or that CUDA device is not there.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"device: expected auto, cpu, cuda or cuda:<number>, got {name!r}")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device: {name} was asked for, but torch finds no CUDA device")
        if device.index is not None and device.index >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise ValueError(f"device: {name} was asked for, but torch finds {count} CUDA devices")
    return device


def seed_everything(seed: int) -> None:
    """Seed torch's generators, on the CPU and on every CUDA device.

    Nothing in this package draws from Python's or numpy's generators.

    Example:
        >>> seed_everything(1)
        >>> first = torch.rand(3)
        >>> seed_everything(1)
        >>> torch.equal(first, torch.rand(3))
        True
    """
    torch.manual_seed(seed)


def rng_state() -> dict[str, Any]:
    """Take the state of torch's generators, as tensors that a checkpoint can hold.

    Example:
        >>> state = rng_state()
        >>> first = torch.rand(3)
        >>> set_rng_state(state)
        >>> torch.equal(first, torch.rand(3))
        True
    """
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_rng_state(state: dict[str, Any]) -> None:
    """Put back what :func:`rng_state` took.

    CUDA states are put back only where there are as many CUDA devices as when they were taken.

    Example:
        >>> set_rng_state(rng_state())
    """
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the fraction of images whose largest logit is at their label.

    Args:
        logits: (N, classes), any float dtype.
        labels: (N,) int64.

    Returns:
        A float32 scalar in [0, 1] on the same device, so that reading it is left to the caller.

    Example:
        >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])).item()
        0.5
    """
    return (logits.argmax(dim=1) == labels).float().mean()


class RunningMean:
    """Weighted mean of scalars, summed in float64 where they live.

    Adding a CUDA scalar does not wait for the device; only :meth:`value` does.

    Example:
        >>> mean = RunningMean()
        >>> mean.add(torch.tensor(1.0), weight=3)
        >>> mean.add(torch.tensor(5.0))
        >>> mean.value()
        2.0
    """

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.weight = 0

    def add(self, scalar: Tensor, weight: int = 1) -> None:
        """Add a scalar tensor that stands for ``weight`` samples."""
        term = scalar.detach().double() * weight
        self.total = term if self.total is None else self.total + term
        self.weight += weight

    def value(self) -> float:
        """Give the mean so far; NaN when nothing was added."""
        return float("nan") if self.total is None else self.total.item() / self.weight


@torch.no_grad()
def evaluate_network(
    network: nn.Module, loader: Iterable[tuple[Tensor, Tensor]]
) -> tuple[float, float]:
    """Give the mean cross-entropy loss and the accuracy of a network over a loader's images.

    The network is evaluated in eval mode, and left in the mode in which it came.

    Returns:
        (loss, accuracy): the mean over images of the cross entropy, in nats, and the fraction of
        images classified rightly, in [0, 1].

    Example:
        >>> batch = (torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0]))
        >>> loss, fraction = evaluate_network(nn.Identity(), [batch])
        >>> round(loss, 4), fraction
        (1.1269, 0.5)
    """
    training = network.training
    network.eval()
    loss, fraction = RunningMean(), RunningMean()
    for images, labels in loader:
        logits = network(images)
        loss.add(nn.functional.cross_entropy(logits, labels), len(labels))
        fraction.add(accuracy(logits, labels), len(labels))
    network.train(training)
    return loss.value(), fraction.value()
