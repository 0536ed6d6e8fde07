"""The public names, stable from the first release: they are there, and are called as they were."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

CALLS = {
    "adarts_ext.accelerate": "model",
    "adarts_ext.acceleration_report": "model",
    "adarts_ext.restore": "model",
    "adarts_ext.ops.channel_attention": "x, w1, w2",
    "adarts_ext.ops.select_channels": "scores, k",
    "adarts_ext.ops.gather_channels": "x, index, scale",
    "adarts_ext.ops.scatter_channels": "x, index, update, scale, stride",
    "adarts_ext.ops.mixed_sum": "inputs, weights",
    "adarts_ext.nn.ChannelAttention": "channels, reduction",
    "adarts_ext.nn.PartialMixedOp": "channels, stride, proportion, selection",
    "adarts_ext.nn.SearchNetwork": "init_channels, num_classes, layers, proportion, selection, "
    "edge_normalization, backend, memory",
    "adarts_ext.nn.DerivedNetwork": "genotype, init_channels, num_classes, layers, auxiliary",
    "adarts_ext.genotype.Genotype": "normal, normal_concat, reduce, reduce_concat",
    "adarts_ext.genotype.derive": "",
    "adarts_ext.search.search": "",
    "adarts_ext.retrain.retrain": "",
}
REFERENCE = ("channel_attention", "select_channels", "gather_channels", "scatter_channels")
CALLS |= {f"adarts_ext.reference.{name}": CALLS[f"adarts_ext.ops.{name}"] for name in REFERENCE}
CALLS |= {
    f"adarts_ext.compat.{method}.{name}": first
    for method in ("darts", "pc_darts", "adarts")
    for name, first in {"MixedOp": "C, stride", "Cell": "steps, multiplier", "Network": "C"}.items()
}
NAMES = ("PRIMITIVES", "ADARTS_V1", "ADARTS_V2", "PC_DARTS")
COMMANDS = ("search", "retrain", "evaluate", "draw", "bench", "info")


def get(path: str):
    module, name = path.rsplit(".", 1)
    return getattr(import_module(module), name)


@pytest.mark.parametrize("path", CALLS)
def test_it_is_called_as_it_was(path):
    expected = [name for name in CALLS[path].split(", ") if name]
    parameters = list(inspect.signature(get(path)).parameters)
    if path.endswith("SearchNetwork"):  # others may stand between and behind them
        assert [name for name in parameters if name in expected] == expected
    else:
        assert parameters[: len(expected)] == expected


@pytest.mark.parametrize("name", NAMES)
def test_genotypes(name):
    assert get(f"adarts_ext.genotype.{name}")


@pytest.mark.parametrize("method", ["arch_parameters", "genotype", "forward"])
def test_what_a_supernet_is_asked_for(method):
    assert callable(getattr(get("adarts_ext.nn.SearchNetwork"), method))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command, capsys):
    assert get("adarts_ext.cli.main")([command, "--help"]) == 0
    assert command in capsys.readouterr().out
