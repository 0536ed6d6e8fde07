"""Checks of arguments and inputs that several modules share, with one-line errors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from adarts_ext.ops.operator import check_tensor


def check_choice(owner: str, name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``; the message lists them."""
    if value not in choices:
        raise ValueError(f"{owner}: {name} must be one of {', '.join(choices)}, got {value!r}")


def check_at_least(owner: str, minimum: int, **values: int) -> None:
    """Raise ValueError for the first value that is less than ``minimum``."""
    for name, value in values.items():
        if value < minimum:
            raise ValueError(f"{owner}: {name} must be at least {minimum}, got {value}")


def check_feature_map(owner: str, x: Tensor, channels: int) -> None:
    """Raise TypeError unless ``x`` is a tensor, ValueError unless it is (N, channels, H, W)."""
    check_tensor(owner, "x", x)
    if x.dim() != 4 or x.shape[1] != channels:
        raise ValueError(f"{owner}: expected (N, {channels}, H, W), got shape {tuple(x.shape)}")


def check_even_size(owner: str, x: Tensor) -> None:
    """Raise ValueError unless height and width of ``x`` can be halved."""
    if x.shape[2] % 2 or x.shape[3] % 2:
        raise ValueError(
            f"{owner}: stride 2 needs an even height and width, got shape {tuple(x.shape)}"
        )
