"""What the operators share: argument checks and the memory format of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from adarts_ext import _library  # noqa: F401  loads the compiled operators
from adarts_ext.ops.processes import ALONE, SharedBatch
from adarts_ext.reference.image_blocks import LANES

kernels = torch.ops.adarts_ext

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
CELL_DTYPES = (torch.float32, torch.float64, torch.bfloat16)  # of the fused cell


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
    check_device(op, name, x, other, other_name)


def check_device(op: str, name: str, x: Tensor, other: Tensor, other_name: str = "x") -> None:
    """Raise unless ``x`` is on the device of ``other``."""
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
    check_device(op, "index", index, x)


def empty_feature_map(like: Tensor, shape: Sequence[int], interleaved: bool) -> Tensor:
    """Allocate a feature map in channels_last memory, or in contiguous memory."""
    memory_format = torch.channels_last if interleaved else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format)


def is_interleaved(x: Tensor) -> bool:
    """Return whether a feature map lies in channels_last memory, by the rule the kernels follow."""
    _, _, height, width = x.shape
    if height > 1 and width > 1 and x.stride(2) != width * x.stride(3):
        return False  # such memory is copied to contiguous memory
    pixel = x.stride(3) if width > 1 else x.stride(2) if height > 1 else 1
    return pixel != 1 and x.stride(1) == 1


def without_padding(grad: Tensor, batch: int) -> Tensor:
    """Return a gradient of image blocks that is zero for the images beyond the batch.

    Networks hand on such a one; whoever uses image blocks as they are may sum over all lanes.
    """
    last = batch % LANES
    if last == 0:
        return grad
    real = torch.arange(LANES, device=grad.device) < last
    return torch.cat([grad[:-1], grad[-1:].where(real, 0)])


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


def accumulate_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which sums over values of ``dtype`` are made."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_image_blocks(op: str, name: str, x: Tensor, batch: int, stride: int) -> None:
    """Raise unless ``x`` is a feature map of ``batch`` images, laid out in image blocks."""
    blocks = -(-batch // LANES)
    if x.dim() != 5 or x.size(4) != LANES or x.size(0) != blocks or 0 in x.shape:
        raise ValueError(
            f"{op}: {name} has shape {tuple(x.shape)}, expected ({blocks}, C, H, W, {LANES}) "
            f"for {batch} images, none of them empty"
        )
    if x.size(2) % stride or x.size(3) % stride:
        raise ValueError(
            f"{op}: {name} has shape {tuple(x.shape)}, expected even H and W at stride 2"
        )
    if x.dtype not in CELL_DTYPES:
        raise TypeError(f"{op}: {name} has dtype {x.dtype}, expected float32, float64 or bfloat16")


def check_alone(op: str, shared: SharedBatch, x: Tensor) -> None:
    """Raise where processes share a batch on a device whose kernels cannot do it."""
    if shared != ALONE:
        raise ValueError(f"{op}: expected a batch of one process on {x.device}, got {shared}")


def check_stride(op: str, stride: int) -> None:
    """Raise unless ``stride`` is 1 or 2."""
    if stride not in (1, 2):
        raise ValueError(f"{op}: stride is {stride}, expected 1 or 2")


def check_enough_values(op: str, batch: int, height: int, width: int) -> None:
    """Raise, as torch's BatchNorm does, where a single value would be normalised by itself."""
    if batch * height * width < 2:
        raise ValueError(
            f"{op}: expected more than one value per channel for batch statistics, "
            f"got {batch} image of {height} x {width} pixels"
        )
