"""What the operators share: argument checks and the memory format of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from adarts_ext import _library  # noqa: F401  loads the compiled operators

kernels = torch.ops.adarts_ext

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def check_feature_map(op: str, name: str, x: Tensor) -> None:
    """Raise unless ``x`` is a floating point feature map (N, C, H, W)."""
    if x.dim() != 4:
        raise ValueError(f"{op}: {name} has shape {tuple(x.shape)}, expected (N, C, H, W)")
    check_dtype(op, name, x)


def check_dtype(op: str, name: str, x: Tensor) -> None:
    """Raise unless ``x`` has one of the dtypes the operators take."""
    if x.dtype not in DTYPES:
        raise TypeError(
            f"{op}: {name} has dtype {x.dtype}, expected float32, float64, bfloat16 or float16"
        )


def check_shape(op: str, name: str, x: Tensor, shape: Sequence[int]) -> None:
    """Raise unless ``x`` has exactly this shape."""
    if tuple(x.shape) != tuple(shape):
        raise ValueError(f"{op}: {name} has shape {tuple(x.shape)}, expected {tuple(shape)}")


def check_like(op: str, name: str, x: Tensor, other: Tensor, other_name: str = "x") -> None:
    """Raise unless ``x`` has the dtype and the device of ``other``."""
    if x.dtype != other.dtype:
        raise TypeError(
            f"{op}: {name} has dtype {x.dtype}, expected {other.dtype} like {other_name}"
        )
    if x.device != other.device:
        raise ValueError(
            f"{op}: {name} is on {x.device}, expected {other.device} like {other_name}"
        )


def check_index(op: str, index: Tensor, x: Tensor) -> None:
    """Raise unless ``index`` is a list of channels; its values are checked by the kernel."""
    if index.dtype != torch.int64:
        raise TypeError(f"{op}: index has dtype {index.dtype}, expected torch.int64")
    if index.dim() != 1:
        raise ValueError(f"{op}: index has shape {tuple(index.shape)}, expected (k,)")
    if index.device != x.device:
        raise ValueError(f"{op}: index is on {index.device}, expected {x.device} like x")


def empty_feature_map(like: Tensor, shape: Sequence[int], interleaved: bool) -> Tensor:
    """Allocate a feature map in channels_last memory, or in contiguous memory."""
    memory_format = torch.channels_last if interleaved else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format)


def is_interleaved(x: Tensor) -> bool:
    """Tell whether a feature map lies in channels_last memory, by the rule the kernels follow."""
    _, _, height, width = x.shape
    if height > 1 and width > 1 and x.stride(2) != width * x.stride(3):
        return False  # such memory is copied to contiguous memory
    pixel = x.stride(3) if width > 1 else x.stride(2) if height > 1 else 1
    return pixel != 1 and x.stride(1) == 1


def differentiable(
    name: str, setup_context: Callable[..., None], backward: Callable[..., object]
) -> Callable[..., Tensor]:
    """Register the gradient of an operator and return the call its public function makes.

    Torch's generic wrapper makes the bare operator differentiable, also under torch.compile. The
    call returned goes through an autograd function of its own, which takes half as long.
    """
    torch.library.register_autograd(f"adarts_ext::{name}", backward, setup_context=setup_context)

    def forward(ctx, *arguments):
        output = getattr(kernels, name)(*arguments)
        setup_context(ctx, arguments, output)
        return output

    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(name, (torch.autograd.Function,), members).apply
