"""Candidate operations, one module each, and the layers that fit a cell's inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PRIMITIVES = [
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
]


class ReLUConvBN(nn.Module):
    def __init__(self, C_in, C_out, affine=False):
        super().__init__()
        conv = nn.Conv2d(C_in, C_out, 1, bias=False)
        self.op = nn.Sequential(nn.ReLU(inplace=False), conv, nn.BatchNorm2d(C_out, affine=affine))

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class DilConv(nn.Module):
    def __init__(self, C, kernel, stride, dilation=2, affine=False):
        super().__init__()
        self.op = nn.Sequential(*layers(C, kernel, stride, dilation, affine))

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class SepConv(nn.Module):
    def __init__(self, C, kernel, stride, affine=False):
        super().__init__()
        halves = layers(C, kernel, stride, 1, affine) + layers(C, kernel, 1, 1, affine)
        self.op = nn.Sequential(*halves)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


def layers(C, kernel, stride, dilation, affine):
    padding = dilation * (kernel - 1) // 2
    depthwise = nn.Conv2d(C, C, kernel, stride, padding, dilation, groups=C, bias=False)
    pointwise = nn.Conv2d(C, C, 1, bias=False)
    return [nn.ReLU(inplace=False), depthwise, pointwise, nn.BatchNorm2d(C, affine=affine)]


class Identity(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Zero(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return x.mul(0.0)


class FactorizedReduce(nn.Module):
    """Half the pixels: even ones for one half of the channels, odd ones for the other."""

    def __init__(self, C_in, C_out, affine=False):
        super().__init__()
        self.relu = nn.ReLU(inplace=False)
        self.conv_1, self.conv_2 = (
            nn.Conv2d(C_in, C_out // 2, 1, stride=2, bias=False) for _ in range(2)
        )
        self.bn = nn.BatchNorm2d(C_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], dim=1))


def build(primitive, C, stride):
    """The candidate of this name; pools with their BatchNorm."""
    name, _, size = primitive.rpartition("_")
    kernel = int(size[0]) if size[0].isdigit() else None
    if name == "max_pool":
        return nn.Sequential(nn.MaxPool2d(3, stride, 1), nn.BatchNorm2d(C, affine=False))
    if name == "avg_pool":
        pool = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        return nn.Sequential(pool, nn.BatchNorm2d(C, affine=False))
    if name == "sep_conv":
        return SepConv(C, kernel, stride)
    if name == "dil_conv":
        return DilConv(C, kernel, stride)
    if name == "skip":
        return Identity() if stride == 1 else FactorizedReduce(C, C)
    return Zero(stride)
