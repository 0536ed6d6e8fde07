"""Networks for tests of what is measured: one of each kind is built, and copied."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from fast_copy import Original
from torch import nn

from adarts_ext.bench import arms
from adarts_ext.bench.groups import Size
from adarts_ext.bench.parts import cell, memory

build_network = arms.build_network
originals: dict[tuple[arms.Arm, int, int], Original | nn.Module] = {}


def build_once(arm: arms.Arm, size: Size, device: str = "cpu") -> nn.Module:
    """Stand in for ``build_network`` on the CPU."""
    assert device == "cpu"
    key = replace(arm, frozen=False), size.channels, size.layers
    flat = arm.network == "ours"  # weights that share memory
    if key not in originals:
        network = build_network(arm, size)
        originals[key] = network if flat else Original(network)
    original = originals[key]
    return copy.deepcopy(original) if flat else original.copy()


def use_build_once(patch: pytest.MonkeyPatch) -> None:
    """Have all that measures networks take such copies."""
    for module in (arms, cell, memory):
        patch.setattr(module, "build_network", build_once)
