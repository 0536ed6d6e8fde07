"""Genotypes within a budget: what edges cost, and that no genotype within it weighs more."""

from __future__ import annotations

import functools
import itertools
import sys

import numpy as np
import pytest
import torch
from image_folder import write_images
from small_runs import small_search

from adarts_ext.cli import main
from adarts_ext.files import read_json, write_json
from adarts_ext.genotype import KNOWN, PRIMITIVES, Genotype, derive, random_genotype
from adarts_ext.retrain import RetrainConfig, derive_within
from adarts_ext.retrain import budget as budget_module
from adarts_ext.retrain.cost import Cost, ImageKind, edge_costs, network_cost
from adarts_ext.search import search

SMALL = RetrainConfig(init_channels=4, layers=3)
IMAGES = ImageKind(3, (16, 16), 10)
CIFAR = ImageKind(3, (32, 32), 10)


COUNTED = functools.cache(edge_costs)


@pytest.fixture(autouse=True)
def _count_once(monkeypatch):
    """Count what edges cost once for each network, in this module too."""
    for place in (budget_module, sys.modules[__name__]):
        monkeypatch.setattr(place, "edge_costs", COUNTED)


@functools.cache
def cost_of(genotype, config=SMALL, images=IMAGES):
    cost = network_cost(genotype, config, images)
    return Cost(cost["parameters"], cost["macs"])


def draw(steps, seed, betas=True):
    generator = torch.Generator().manual_seed(seed)
    edges = steps * (steps + 3) // 2
    alphas = [torch.randn(edges, 8, generator=generator) for _ in range(2)]
    return [*alphas, *(torch.randn(edges, generator=generator) for _ in range(2 * betas))]


@pytest.mark.parametrize(("steps", "layers"), [(1, 5), (4, 2), (12, 2)])
def test_the_cost_of_a_network_is_the_sum_of_those_of_its_edges(steps, layers):
    config = RetrainConfig(init_channels=4, layers=layers)
    base, costs = edge_costs(config, IMAGES, steps)
    for seed in range(3):
        genotype = random_genotype(seed, steps)
        total = base
        for cell in ("normal", "reduce"):
            for op, source in getattr(genotype, cell):
                total += costs[cell, op, source < 2]
        assert total == cost_of(genotype, config)


def counted(genotype, channels=36, layers=20, side=32, classes=10):
    """Parameters and multiply-adds of a CIFAR network, counted by hand from the equations."""
    parameters = 27 * 3 * channels + 2 * 3 * channels
    macs = 27 * 3 * channels * side**2
    inputs = (3 * channels, 3 * channels)
    for layer in range(layers):
        reduction = layer in (layers // 3, 2 * layers // 3)
        channels *= 2 if reduction else 1
        for width in inputs:  # 1x1 convolutions, or two of half the width at half the size
            parameters += width * channels + 2 * channels
            macs += width * channels * side**2
        out_side = side // 2 if reduction else side
        for op, source in genotype.reduce if reduction else genotype.normal:
            halves = reduction and source < 2
            if op == "skip_connect" and halves:
                parameters += channels**2 + 2 * channels
                macs += channels**2 * out_side**2
            if "conv" in op:
                kernel = int(op[-1]) ** 2
                times = 2 if op.startswith("sep") else 1
                parameters += times * (kernel * channels + channels**2 + 2 * channels)
                macs += times * (kernel * channels + channels**2) * out_side**2
        side = out_side
        inputs = (inputs[1], 4 * channels)
    return parameters + inputs[1] * classes + classes, macs + inputs[1] * classes


@pytest.mark.parametrize("name", KNOWN)
def test_published_cells_cost_what_an_independent_count_says(name):
    assert cost_of(KNOWN[name], RetrainConfig(), CIFAR) == counted(KNOWN[name])


def edge_weights(alphas, betas=None):
    """What each operation on each edge of a cell weighs, from the definition."""
    weights = alphas.double().softmax(1)
    if betas is not None:
        nodes = betas.double().split([2 + node for node in range(nodes_of(betas))])
        weights = weights * torch.cat([node.softmax(0) for node in nodes])[:, None]
    return weights.numpy()


def nodes_of(betas):
    return next(nodes for nodes in range(1, 99) if nodes * (nodes + 3) // 2 == len(betas))


def weigh(edges, weights):
    """What the edges of a cell weigh together."""
    total = 0.0
    for place, (op, source) in enumerate(edges):
        node = place // 2
        total += weights[node * (node + 3) // 2 + source, PRIMITIVES.index(op)]
    return total


def weight_of(genotype, parameters):
    """What a genotype weighs, given alphas and perhaps betas of both cells."""
    cells = genotype.normal, genotype.reduce
    return sum(weigh(cell, edge_weights(*parameters[k::2])) for k, cell in enumerate(cells))


def all_cells(steps):
    """Every cell that can be derived."""
    ops = [op for op in PRIMITIVES if op != "none"]
    nodes = [
        [((one, a), (other, b)) for one in ops for other in ops for a, b in pairs]
        for node in range(2, 2 + steps)
        for pairs in [list(itertools.combinations(range(node), 2))]
    ]
    return [sum(edges, ()) for edges in itertools.product(*nodes)]


def largest_weight(steps, parameters, budget):
    """The largest weight of all genotypes within a budget, tried one by one."""
    base, costs = edge_costs(SMALL, IMAGES, steps)
    cells = all_cells(steps)
    cost, weight = {}, {}
    for place, kind in enumerate(("normal", "reduce")):
        edge = {
            (op, source): np.array(costs[kind, op, source < 2])
            for op in PRIMITIVES
            for source in range(1 + steps)
        }
        cost[kind] = np.stack([sum(edge[one] for one in cell) for cell in cells])
        weights = edge_weights(*parameters[place::2])
        weight[kind] = np.array([weigh(cell, weights) for cell in cells])
        cost[kind], weight[kind] = heaviest(cost[kind], weight[kind])
    best = -np.inf
    for one, weighs in zip(cost["normal"], weight["normal"], strict=True):
        fits = (cost["reduce"] + one + base <= budget).all(axis=1)
        best = max(best, weighs + weight["reduce"][fits].max(initial=-np.inf))
    return best


def heaviest(costs, weights):
    """Of those that cost the same, what the heaviest weighs."""
    different, places = np.unique(costs, axis=0, return_inverse=True)
    most = np.full(len(different), -np.inf)
    np.maximum.at(most, places.ravel(), weights)
    return different, most


def budgets(steps):
    """Budgets from the smallest network's to above the largest one's."""
    ends = [
        cost_of(Genotype(cell, concat, cell, concat))
        for concat in [tuple(range(2, 2 + steps))]
        for op in ("max_pool_3x3", "sep_conv_5x5")
        for cell in [((op, 0), (op, 1)) * steps]
    ]
    (least, fewest), (most, all_macs) = ends
    for part in (0, 0.2, 0.5, 0.8, 1):
        params, macs = (
            round(low + part * (high - low)) for low, high in ((least, most), (fewest, all_macs))
        )
        yield Cost(params, all_macs)
        yield Cost(most, macs)
        yield Cost(params, round((macs + fewest) / 2) if part > 0.5 else macs)


@pytest.mark.parametrize("betas", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_genotype_within_the_budget_weighs_more(seed, betas):
    parameters = draw(1, seed, betas)
    for budget in budgets(1):
        found = derive_within(
            *parameters,
            config=SMALL,
            images=IMAGES,
            max_params=budget.parameters,
            max_macs=budget.macs,
        )
        cost = cost_of(found)
        assert cost.parameters <= budget.parameters
        assert cost.macs <= budget.macs
        expected = largest_weight(1, parameters, budget)
        assert weight_of(found, parameters) == pytest.approx(expected, rel=1e-12)


def test_no_genotype_of_two_nodes_within_the_budget_weighs_more():
    parameters = draw(2, 3)
    most, (least, _) = cost_of(derive(*parameters)), edge_costs(SMALL, IMAGES, 2)
    budget = Cost((most.parameters + least.parameters) // 2, (most.macs + least.macs) // 2)
    limits = {"max_params": budget.parameters, "max_macs": budget.macs}
    found = derive_within(*parameters, config=SMALL, images=IMAGES, **limits)
    assert weight_of(found, parameters) < weight_of(derive(*parameters), parameters)
    assert weight_of(found, parameters) == pytest.approx(
        largest_weight(2, parameters, budget), rel=1e-12
    )


@pytest.mark.parametrize("steps", [1, 4])
def test_without_a_budget_that_binds_it_is_the_genotype_of_the_search(steps):
    for seed in range(3):
        parameters = draw(steps, seed)
        expected = derive(*parameters)
        cost = cost_of(expected)
        same = derive_within(
            *parameters,
            config=SMALL,
            images=IMAGES,
            max_params=cost.parameters,
            max_macs=cost.macs,
        )
        assert same == derive_within(*parameters, config=SMALL, images=IMAGES) == expected
    equal = [torch.zeros_like(one) for one in parameters]
    assert derive_within(*equal, config=SMALL, images=IMAGES) == derive(*equal)


@pytest.mark.parametrize(("name", "place"), [("max_params", 0), ("max_macs", 1)])
def test_a_budget_that_no_genotype_keeps_within_is_refused(name, place):
    pools = (("max_pool_3x3", 0), ("avg_pool_3x3", 1)) * 4
    smallest = Genotype(pools, (2, 3, 4, 5), pools, (2, 3, 4, 5))
    least = cost_of(smallest)[place]
    parameters = draw(4, 0)
    found = derive_within(*parameters, config=SMALL, images=IMAGES, **{name: least})
    assert cost_of(found)[place] == least
    with pytest.raises(ValueError, match=f"{name}: expected at least {least}, .* got {least - 1}"):
        derive_within(*parameters, config=SMALL, images=IMAGES, **{name: least - 1})


def test_cells_of_different_size_are_refused():
    small, large = draw(1, 0), draw(2, 0)
    with pytest.raises(ValueError, match="got 1 in the normal and 2 in the reduction cell"):
        derive_within(small[0], large[1], config=SMALL, images=IMAGES)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder of a search of two epochs."""
    images = write_images(tmp_path_factory.mktemp("images"), 8, 2)
    folder = tmp_path_factory.mktemp("runs") / "a search"
    search(small_search(images, arch_learning_rate=0.1), folder)
    return folder


NETWORK = ["--init-channels", "4", "--layers", "3", "--image-size", "16"]


def test_the_command_writes_a_genotype_within_the_budget(searched, capsys):
    assert main(["derive", str(searched), *NETWORK]) == 0
    assert Genotype.load(searched / "derived.json") == Genotype.load(searched / "genotype.json")
    pools = (("max_pool_3x3", 0), ("avg_pool_3x3", 1)) * 2
    least = cost_of(Genotype(pools, (2, 3), pools, (2, 3)))
    out = searched / "small.json"
    capsys.readouterr()
    limit = f"{(least.parameters + 10) / 1000}k"
    options = ["--max-params", limit, "--max-macs", "1.5M", "--out", str(out)]
    assert main(["derive", str(searched), *NETWORK, *options]) == 0
    text = capsys.readouterr().out
    assert cost_of(Genotype.load(out)).parameters == least.parameters
    assert f"{least.parameters / 1000:.3f} k parameters; " in text
    assert f"adarts retrain '{out}'" in text


def test_the_command_takes_the_epoch_that_it_is_told(searched, tmp_path):
    for epoch in (1, 2):
        out = tmp_path / f"{epoch}.json"
        assert (
            main(["derive", str(searched), *NETWORK, "--epoch", str(epoch), "--out", str(out)]) == 0
        )
        expected = searched / "genotypes" / f"epoch-000{epoch}.json"
        assert Genotype.load(out) == Genotype.load(expected)


def test_the_genotype_of_a_stopped_search_is_that_of_the_last_good_epoch(
    searched, tmp_path, monkeypatch
):
    result = read_json(searched / "result.json")
    monkeypatch.setattr(
        "adarts_ext.cli.derive.read_json",
        lambda path: (
            result | {"genotype_epoch": 1} if path.name == "result.json" else read_json(path)
        ),
    )
    out = tmp_path / "derived.json"
    assert main(["derive", str(searched), *NETWORK, "--out", str(out)]) == 0
    assert Genotype.load(out) == Genotype.load(searched / "genotypes" / "epoch-0001.json")


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--max-params", "many"], 2, "--max-params: expected a number such as 3500000 or 3.5M"),
        (["--max-macs", "-1"], 2, "--max-macs: expected a number such as 3500000 or 3.5M"),
        (["--max-params", "1"], 1, "--max-params: expected at least "),
        (["--epoch", "3"], 1, "--epoch: expected 1 to 2, the epochs of "),
        (["--epoch", "0"], 1, "--epoch: expected 1 to 2, the epochs of "),
        (["--layers", "0"], 2, "--layers: expected at least 1, got 0"),
    ],
)
def test_what_cannot_be_derived_is_one_line(searched, options, status, message, capsys):
    assert main(["derive", str(searched), *options]) == status
    error = capsys.readouterr().err
    assert error.startswith(f"adarts derive: error: {message}")
    assert error.count("\n") == 1


def test_a_folder_without_a_search_is_one_line(searched, tmp_path, capsys):
    assert main(["derive", str(tmp_path)]) == 1
    assert "not the folder of a run" in capsys.readouterr().err
    for name in ("config.json", "history.json"):
        (tmp_path / name).write_bytes((searched / name).read_bytes())
    write_json(tmp_path / "history.json", [{"epoch": 1}])
    assert main(["derive", str(tmp_path)]) == 1
    assert "history.json: not the history of a search" in capsys.readouterr().err
    (tmp_path / "history.json").unlink()
    assert main(["derive", str(tmp_path)]) == 1
    assert "the search has not ended its first epoch" in capsys.readouterr().err
