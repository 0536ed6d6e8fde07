"""The search networks of published code bases, imported from clones of them, unchanged."""

from __future__ import annotations

import importlib
import random
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

_CLASSES = 10
_EDGES = 14


@dataclass(frozen=True)
class CodeBase:
    """One search network of a code base.

    Attributes:
        label: What it is called in tables.
        folders: Those it is imported from, below the folder of all clones.
        module: The module of its network.
        make: Makes the network from that module, channels and number of cells.
        side: Height and width of its images.
        batch: Images in a batch.
    """

    label: str
    folders: tuple[str, ...]
    module: str
    make: Callable[[ModuleType, int, int], nn.Module]
    side: int = 32
    batch: int = 16


def _network(name: str = "Network", **more: Any) -> Callable[[ModuleType, int, int], nn.Module]:
    def make(module: ModuleType, channels: int, layers: int) -> nn.Module:
        return getattr(module, name)(channels, _CLASSES, layers, cross_entropy, **more)

    return make


def _in_space(
    space: str, spaces: str, name: str = "Network", **more: Any
) -> Callable[[ModuleType, int, int], nn.Module]:
    """Make a network of a space of RobustDARTS: ``s1`` to ``s4`` are subsets, ``s5`` is DARTS's."""

    def make(module: ModuleType, channels: int, layers: int) -> nn.Module:
        primitives = importlib.import_module(spaces).spaces_dict[space]
        kind = getattr(module, name)
        return kind(channels, _CLASSES, layers, cross_entropy, primitives, **more)

    return make


def _p_darts(kept: int) -> Callable[[ModuleType, int, int], nn.Module]:
    """Make a network of P-DARTS with so many candidates left on each edge, drawn at random."""

    def make(module: ModuleType, channels: int, layers: int) -> nn.Module:
        draw = random.Random(0)
        left = [set(draw.sample(range(8), kept)) for _ in range(2 * _EDGES)]
        switches = [[i in edge for i in range(8)] for edge in left]
        normal, reduce = switches[:_EDGES], switches[_EDGES:]
        of_stage = {"switches_normal": normal, "switches_reduce": reduce}
        return module.Network(channels, _CLASSES, layers, cross_entropy, **of_stage)

    return make


def _sixth(module: ModuleType, channels: int, layers: int) -> nn.Module:
    """Make DrNAS's first stage; its channels are a multiple of 12, at least those asked for."""
    return _network(k=6)(module, channels + -channels % 12, layers)


def _wider(module: ModuleType, channels: int, layers: int) -> nn.Module:
    """Make DrNAS's second stage: from a sixth to a third of the channels."""
    network = _sixth(module, channels, layers)
    network.wider(3)
    return network


def _pruned(module: ModuleType, channels: int, layers: int) -> nn.Module:
    """Make DrNAS's second stage with four candidates left on each edge."""
    network = _wider(module, channels, layers)
    network.pruning(4)
    return network


def _auxiliary(module: ModuleType, channels: int, layers: int) -> nn.Module:
    """Make DARTS-'s network, with the auxiliary skip connection it is named for."""
    module.args.auxiliary_skip = True
    make = _in_space("s5", "src.spaces", args=Namespace(disable_cuda=True))
    return make(module, channels, layers)


def _controller(module: ModuleType, channels: int, layers: int) -> nn.Module:
    kind = module.SearchCNNController
    return kind(3, channels, _CLASSES, layers, cross_entropy, device_ids=[0])


def _undecided(module: ModuleType, channels: int, layers: int) -> nn.Module:
    """Make SGAS's network as its search begins: no edge is decided."""
    network = _network()(module, channels, layers)
    network.normal_selected_idxs = torch.tensor([-1] * _EDGES)
    network.reduce_selected_idxs = torch.tensor([-1] * _EDGES)
    return network


_SOTA, _SRC = "sota.cnn.spaces", "src.spaces"
_SGD = Namespace(learning_rate=0.025, momentum=0.9, weight_decay=3e-4)
_PC = "PCDARTSNetwork"

CODE_BASES = (
    CodeBase("DARTS", ("darts/cnn",), "model_search", _network(), batch=32),
    CodeBase("PC-DARTS, CIFAR", ("PC-DARTS",), "model_search", _network(), batch=64),
    CodeBase("PC-DARTS, ImageNet", ("PC-DARTS",), "model_search_imagenet", _network(), 224, 32),
    CodeBase("ADARTS", ("ADARTS/ADARTS",), "model_search", _network(), batch=64),
    CodeBase("P-DARTS, stage 1", ("pdarts",), "model_search", _p_darts(8)),
    CodeBase("P-DARTS, stage 2", ("pdarts",), "model_search", _p_darts(5)),
    CodeBase("P-DARTS, stage 3", ("pdarts",), "model_search", _p_darts(3)),
    CodeBase("DrNAS, stage 1", ("DrNAS/DARTS-space", "DrNAS"), "model_search", _sixth),
    CodeBase("DrNAS, wider", ("DrNAS/DARTS-space", "DrNAS"), "model_search", _wider),
    CodeBase("DrNAS, wider, pruned", ("DrNAS/DARTS-space", "DrNAS"), "model_search", _pruned),
    CodeBase("FairDARTS", ("FairDARTS/fairdarts",), "model_search", _network()),
    CodeBase("RobustDARTS, S1", ("RobustDARTS",), "src.search.model_search", _in_space("s1", _SRC)),
    CodeBase("RobustDARTS, S4", ("RobustDARTS",), "src.search.model_search", _in_space("s4", _SRC)),
    CodeBase("SmoothDARTS", ("SmoothDARTS",), "sota.cnn.model_search", _in_space("s5", _SOTA)),
    CodeBase(
        "SmoothDARTS, PC-DARTS",
        ("SmoothDARTS",),
        "sota.cnn.model_search_pcdarts",
        _in_space("s5", _SOTA, _PC),
    ),
    CodeBase("Beta-DARTS", ("Beta-DARTS",), "sota.cnn.model_search", _in_space("s5", _SOTA)),
    CodeBase("darts-pt", ("darts-pt",), "sota.cnn.model_search", _in_space("s5", _SOTA, args=_SGD)),
    CodeBase("DARTS-", ("DARTS-",), "src.search.model_search", _auxiliary),
    CodeBase("pt.darts", ("pt.darts",), "models.search_cnn", _controller),
    CodeBase("SGAS", ("sgas/cnn",), "model_search", _undecided),
    CodeBase("MiLeNAS", ("MiLeNAS",), "search_space.model_search", _network()),
    CodeBase(
        "MiLeNAS, Gumbel-softmax",
        ("MiLeNAS",),
        "search_space.model_search_gumbel_softmax",
        _network("Network_GumbelSoftmax"),
    ),
)


def load(base: CodeBase, sources: Path, channels: int, layers: int) -> nn.Module:
    """Import a network from the folders of its code base, and make one."""
    folders = [str(sources / folder) for folder in base.folders]
    for name in list(sys.modules):
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(sources)):
            del sys.modules[name]
    before, arguments = list(sys.path), sys.argv
    sys.path[:0] = folders
    sys.argv = sys.argv[:1]  # some parse them when they are imported
    try:
        torch.manual_seed(0)
        return base.make(importlib.import_module(base.module), channels, layers).cuda()
    finally:
        sys.path[:], sys.argv = before, arguments


def alphas_of(model: nn.Module) -> list[Tensor]:
    """Return the architecture parameters, as the code base calls them."""
    if hasattr(model, "arch_parameters"):
        return list(model.arch_parameters())
    return list(model.alphas())


def keep_on_the_cpu() -> None:
    """Have ``.cuda()`` do nothing."""
    torch.Tensor.cuda = lambda self, *_, **__: self
    nn.Module.cuda = lambda self, *_, **__: self
