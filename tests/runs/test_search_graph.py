"""The passes of a search as CUDA graphs, played on the CPU: the same steps, to the bit."""

from __future__ import annotations

import pytest
import torch
from replay import graphs_on_the_cpu

import adarts_ext
from adarts_ext import cuda_graph
from adarts_ext.nn import SearchCell, SearchNetwork
from adarts_ext.nn.candidates import parse_space
from adarts_ext.runs.schedule import set_learning_rate
from adarts_ext.search import SearchConfig
from adarts_ext.search.build import make_optimizers
from adarts_ext.search.passes import Passes
from adarts_ext.search.state import SearchState
from adarts_ext.strategies import make_strategy

SMALL = {"init_channels": 4, "layers": 3, "steps": 1, "proportion": 2}
WAYS = {
    "attention": {"steps": 2},
    "recompute": {"memory": "recompute"},
    "random": {"selection": "random"},
    "first": {"selection": "first"},
    "all": {"selection": "all", "proportion": 1, "edge_normalization": False},
    "second order": {"unrolled": True},
    "plain torch": {"backend": "reference"},
    "darts-minus": {"strategy": "darts-minus"},
    "gdas": {"strategy": "gdas"},
    "drnas-kl": {"strategy": "drnas-kl"},
    "fair-darts": {"strategy": "fair-darts"},
    "sdarts-adv": {"strategy": "sdarts-adv"},
    "lambda-darts": {"strategy": "lambda-darts", "selection": "all", "layers": 4},
    "oles": {"strategy": "oles", "selection": "all"},
    "noise": {"space": "s4"},
    "p-darts": {"strategy": "p-darts", "selection": "all"},
    "sdarts-rs,beta-darts": {"strategy": "sdarts-rs,beta-darts"},
}


def build(way, device):
    config = SearchConfig(**SMALL | WAYS[way])
    names = ("steps", "proportion", "selection", "edge_normalization", "backend", "memory")
    torch.manual_seed(0)
    with torch.device("cpu"):
        options = {name: getattr(config, name) for name in names}
        options["candidates"] = parse_space(config.space)
        strategy = make_strategy(config.strategy).to(device)
        options |= {"weights": strategy.weights, "skip_dropout": strategy.skip_dropout()}
        network = SearchNetwork(4, 3, config.layers, **options)
    network.to(device)
    optimizers = make_optimizers(config, network.flat_parameters(), network.arch_parameters())
    state = SearchState(network, *optimizers, None, None, strategy)
    return state, Passes(state, config, torch.device(device))


def memory_of(state):
    """All that a step changes."""
    optimizers = (state.weight_optimizer, state.arch_optimizer)
    kept = [value for one in optimizers for some in one.state.values() for value in some.values()]
    return [
        *state.network.parameters(),
        *state.network.arch_parameters(),
        *state.network.buffers(),
        *state.strategy.buffers(),
        *kept,
    ]


def run(way, device="cpu"):
    """Make some steps and an evaluation after each; return all that they gave and left."""
    warm_up = cuda_graph.WARM_UP
    steps = warm_up + 3
    state, passes = build(way, device)
    generator = torch.Generator().manual_seed(1)
    found, places = [], []
    for number in range(steps):
        set_learning_rate(state.weight_optimizer, 0.1 / (number + 1))
        state.strategy.begin_epoch(number + 1, steps)
        batches = []
        for _ in range(2):
            images = torch.randn(4, 3, 16, 16, generator=generator, device="cpu")
            labels = torch.randint(3, (4,), generator=generator, device="cpu")
            batches += [images.to(device), labels.to(device)]
        found.append(passes.train_architecture(*batches[0 if way == "second order" else 2 :]))
        found += passes.train_weights(*batches[:2])
        state.network.eval()
        with torch.no_grad():
            found.append(passes.forward(batches[0]))
        state.network.train()
        places.append([tensor.data_ptr() for tensor in memory_of(state)])
    assert places[warm_up:] == [places[warm_up]] * 3
    return passes, found + [tensor.detach() for tensor in memory_of(state)]


def assert_same(actual, expected, passes):
    for graph in (passes.train_architecture, passes.train_weights, passes.forward):
        assert graph.reason_not_captured is None
    assert len(actual) == len(expected)
    for one, two in zip(actual, expected, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("way", WAYS)
def test_a_graph_makes_the_same_steps(way, monkeypatch):
    monkeypatch.setattr(cuda_graph, "WARM_UP", 1)
    _, expected = run(way)
    with graphs_on_the_cpu():
        passes, actual = run(way)
    assert_same(actual, expected, passes)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("way", WAYS)
def test_a_graph_makes_the_same_steps_on_cuda(monkeypatch, way):
    with monkeypatch.context() as eager:
        eager.setattr(cuda_graph, "reason_against_device", lambda tensors: "not yet")
        torch.cuda.manual_seed(0)
        _, expected = run(way, "cuda")
    torch.cuda.manual_seed(0)
    passes, actual = run(way, "cuda")
    assert_same(actual, expected, passes)


@pytest.mark.usefixtures("emulated")
def test_a_graph_of_cuda_kernels_makes_the_same_gradients(monkeypatch):
    """A cell's launches under the emulator, with what the bindings allocate around them."""
    monkeypatch.setattr(cuda_graph, "WARM_UP", 1)
    cell = SearchCell(4, 4, 4, False, False, steps=1, proportion=2)

    def gradients(x, alphas):
        alphas = alphas.clone().requires_grad_()
        loss = cell(x, x, alphas.softmax(-1)).sin().sum()
        found = torch.autograd.grad(loss, [*cell.parameters(), alphas])
        return [part.detach() for part in found]

    with graphs_on_the_cpu():
        graph = adarts_ext.graphed(gradients)
        for _ in range(3):
            x, alphas = torch.randn(2, 4, 4, 4), torch.rand(2, 8)
            actual, expected = graph(x, alphas), gradients(x, alphas)
            for one, two in zip(actual, expected, strict=True):
                assert torch.equal(one, two)
    assert graph.reason_not_captured is None
