"""Networks for tests of what is measured: small, and one of each kind is built."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
from fast_copy import Original
from torch import nn

from adarts_ext.bench import arms
from adarts_ext.bench.groups import Size
from adarts_ext.bench.parts import cell, memory

build_network = arms.build_network


def build_once(arm: arms.Arm, size: Size, device: str = "cpu") -> nn.Module:
    """Stand in for ``build_network`` on the CPU, for passes that leave the weights as they are."""
    assert device == "cpu"
    return _built(replace(arm, frozen=False), size.channels, size.layers, arms.NODES)


def copy_built(arm: arms.Arm, size: Size, device: str = "cpu") -> nn.Module:
    """Stand in for ``build_network`` on the CPU, for steps."""
    assert device == "cpu"
    return _original(replace(arm, frozen=False), size.channels, size.layers, arms.NODES).copy()


@functools.cache
def _built(arm: arms.Arm, channels: int, layers: int, nodes: int) -> nn.Module:
    assert nodes == arms.NODES
    return build_network(arm, Size(channels=channels, layers=layers))


@functools.cache
def _original(*kind) -> Original:
    return Original(_built(*kind))


def use_build_once(patch: pytest.MonkeyPatch) -> None:
    """Have all that measures networks take these, of two nodes a cell; steps train copies."""
    patch.setattr(arms, "NODES", 2)
    patch.setattr(arms, "build_network", copy_built)
    for module in (cell, memory):
        patch.setattr(module, "build_network", build_once)
