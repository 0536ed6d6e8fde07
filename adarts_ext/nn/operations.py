"""The eight candidate operations of an edge and the layers that cells begin with.

Attribute names follow DARTS (arXiv 1806.09055), so that its state dicts fit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adarts_ext.genotype.operations import OWN, known_operations
from adarts_ext.nn.checks import check_at_least, check_choice, check_even_size


class Identity(nn.Module):
    """``skip_connect`` at stride 1: the input itself. Drop path leaves it alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Zero(nn.Module):
    """``none``: zeros in the shape of the input, halved at stride 2.

    Example:
        >>> Zero(stride=2)(torch.ones(1, 3, 8, 8)).shape
        torch.Size([1, 3, 4, 4])
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])

    def extra_repr(self) -> str:
        return f"stride={self.stride}"


class ReLUConvBN(nn.Module):
    """ReLU, 1x1 convolution, BatchNorm: fits a cell's input to the cell's channels.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        affine: Whether the BatchNorm has a scale and a shift.

    Example:
        >>> ReLUConvBN(3, 8, affine=False)(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 8, 4, 4])
    """

    def __init__(self, in_channels: int, out_channels: int, affine: bool) -> None:
        super().__init__()
        self.op = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels, affine=affine),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class FactorizedReduce(nn.Module):
    """Halve height and width: ReLU, two 1x1 convolutions of stride 2, concatenation, BatchNorm.

    The first convolution sees the pixels of even rows and columns, the second those of odd ones,
    so none of the two diagonals of a 2x2 block is lost. Taking the pixels before the convolution,
    rather than by the convolution's stride, gives the same values and keeps clear of a defect of
    oneDNN's weight gradient of strided 1x1 convolutions (its issue 6035).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, even: half from each convolution.
        affine: Whether the BatchNorm has a scale and a shift.

    Raises:
        ValueError: If ``out_channels`` is odd, or the input's height or width is.

    Example:
        >>> FactorizedReduce(4, 6, affine=False)(torch.ones(2, 4, 8, 8)).shape
        torch.Size([2, 6, 4, 4])
    """

    def __init__(self, in_channels: int, out_channels: int, affine: bool) -> None:
        super().__init__()
        if out_channels % 2:
            raise ValueError(
                "FactorizedReduce: two convolutions give half of the output channels each, "
                f"so out_channels must be even, got {out_channels}"
            )
        self.relu = nn.ReLU()
        self.conv_1 = nn.Conv2d(in_channels, out_channels // 2, 1, bias=False)
        self.conv_2 = nn.Conv2d(in_channels, out_channels // 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.before_norm(x))

    def before_norm(self, x: Tensor) -> Tensor:
        """Compute the input of the BatchNorm."""
        check_even_size("FactorizedReduce", x)
        even = self.conv_1(self.relu(x[:, :, ::2, ::2]))
        odd = self.conv_2(self.relu(x[:, :, 1::2, 1::2]))
        return torch.cat([even, odd], dim=1)


def _depthwise_separable(
    channels: int, kernel_size: int, stride: int, dilation: int, affine: bool
) -> list[nn.Module]:
    return [
        nn.ReLU(),
        nn.Conv2d(
            channels,
            channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=channels,
            bias=False,
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]


class DilConv(nn.Module):
    """ReLU, depthwise convolution of dilation 2, 1x1 convolution, BatchNorm.

    Args:
        channels: Channels of input and output.
        kernel_size: 3 or 5.
        stride: Stride of the depthwise convolution.
        affine: Whether the BatchNorm has a scale and a shift.

    Example:
        >>> DilConv(4, kernel_size=5, stride=2, affine=False)(torch.ones(2, 4, 8, 8)).shape
        torch.Size([2, 4, 4, 4])
    """

    def __init__(self, channels: int, kernel_size: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.op = nn.Sequential(*_depthwise_separable(channels, kernel_size, stride, 2, affine))

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class SepConv(nn.Module):
    """Twice ReLU, depthwise convolution, 1x1 convolution, BatchNorm.

    Args:
        channels: Channels of input and output.
        kernel_size: 3 or 5.
        stride: Stride of the first depthwise convolution; the second has stride 1.
        affine: Whether the BatchNorms have a scale and a shift.

    Example:
        >>> SepConv(4, kernel_size=3, stride=2, affine=False)(torch.ones(2, 4, 8, 8)).shape
        torch.Size([2, 4, 4, 4])
    """

    def __init__(self, channels: int, kernel_size: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.op = nn.Sequential(
            *_depthwise_separable(channels, kernel_size, stride, 1, affine),
            *_depthwise_separable(channels, kernel_size, 1, 1, affine),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


def build_operation(name: str, channels: int, stride: int, affine: bool) -> nn.Module:
    """Make the candidate operation ``name``; it keeps the number of channels.

    Args:
        name: One of :data:`adarts_ext.genotype.PRIMITIVES`, or one of one's own that is registered.
        channels: Channels of input and output.
        stride: 1, or 2 to halve height and width.
        affine: Whether its BatchNorms have a scale and a shift. The poolings have none here; in a
            mixed operation one follows them.

    Raises:
        ValueError: If the name is unknown, ``channels`` is less than 1, ``stride`` is not 1 or 2,
            or ``skip_connect`` is to halve the size of an odd number of channels.

    Example:
        >>> build_operation("max_pool_3x3", 4, stride=2, affine=False)(torch.ones(1, 4, 8, 8)).shape
        torch.Size([1, 4, 4, 4])
    """
    check_choice("build_operation", "name", name, known_operations())
    check_at_least("build_operation", 1, channels=channels)
    if stride not in (1, 2):
        raise ValueError(f"build_operation: stride must be 1 or 2, got {stride}")
    if name in OWN:
        return OWN[name].builder(channels, stride, affine)
    if name == "none":
        return Zero(stride)
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride=stride, padding=1)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False)
    if name == "skip_connect":
        return Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)
    kernel_size = int(name[-1])
    convolution = SepConv if name.startswith("sep_conv") else DilConv
    return convolution(channels, kernel_size, stride, affine)
