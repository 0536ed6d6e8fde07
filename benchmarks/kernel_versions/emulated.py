"""The versions as functions of tensors, run on the emulator."""

from __future__ import annotations

import ctypes
import math
import sys
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from emulator.build import VERSIONS as SOURCES  # noqa: F401  (for others)
from emulator.build import build

#: What is new in each version.
STENCIL = (
    "a number a thread",
    "taps found once",
    "four images a thread",
    "rows at constant distances",
    "a tile in shared memory",
    "four pixels a thread",
    "two pixels a thread (the library's)",
)
REDUCTION = (
    "a channel a thread",
    "a channel a block",
    "one pass",
    "one pass around a pivot",
    "packs of four values",
    "parts in registers (the library's)",
)
IMAGES = 16  # that lie side by side
_PART = 2048  # values of a part of a channel, in the library's reduction


@cache
def path() -> Path:
    """Build the library of all versions where it is missing or old; return its path."""
    return build("kernel_versions")


def allocate(*shape: int) -> Tensor:
    """Make a tensor of not-a-numbers that begins as memory on a GPU does, at a multiple of 256."""
    count = math.prod(shape)
    room = torch.full((count + 64,), torch.nan)
    first = -room.data_ptr() % 256 // 4
    return room[first : first + count].view(shape)


def stencil(version: int, h: Tensor, w: Tensor) -> Tensor:
    """Make the depthwise convolution of relu(h), of dilation 2.

    Args:
        version: of ``STENCIL``, counted from 1.
        h: (blocks of images, channels, height, width, 16), float32.
        w: (channels, 5, 5), float32.
    """
    u = allocate(*h.shape)
    blocks, channels, height, width, _ = h.shape
    _call("stencil", version, h, w, u, blocks * channels, channels, height, width)
    return u


def reduction(version: int, x: Tensor) -> Tensor:
    """Find mean, 1 / sqrt(variance + 1e-5) and unbiased variance of every channel.

    Args:
        version: of ``REDUCTION``, counted from 1.
        x: (images, channels, pixels), float32, with a multiple of 4 pixels.

    Returns:
        (3, channels)
    """
    images, channels, pixels = x.shape
    partial = allocate(channels, -(-images * pixels // _PART), 3)
    norms = allocate(3, channels)
    _call("reduction", version, x, partial, norms, images, channels, pixels)
    return norms


def _call(kernel: str, version: int, *arguments: Tensor | int) -> None:
    given = [ctypes.c_void_p(a.data_ptr()) if isinstance(a, Tensor) else a for a in arguments]
    function = getattr(ctypes.CDLL(str(path())), kernel)
    function.restype = ctypes.c_bool
    if not function(version, *given):
        raise ValueError(f"expected a version of {kernel}, got {version}")
