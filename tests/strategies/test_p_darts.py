"""P-DARTS: its dropout, its few skip connections, and a run of its three stages."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from image_folder import write_images
from run_state import assert_same_run, interrupted_at
from small_runs import small_search

from adarts_ext.cli import main
from adarts_ext.files import read_json
from adarts_ext.genotype import PRIMITIVES, Genotype, incoming_edges
from adarts_ext.genotype.few_skips import with_few_skips
from adarts_ext.nn import SearchNetwork
from adarts_ext.search import PRESETS, search
from adarts_ext.search.stages import Stages
from adarts_ext.strategies import PDarts, make_strategy

SKIP = PRIMITIVES.index("skip_connect")


def test_the_rates_are_the_published_ones():
    config, strategy = PRESETS["p-darts"], PDarts()
    stages, rates = Stages(config, strategy), []
    for epoch in range(1, config.epochs + 1):
        strategy.begin_stage(stages.of(epoch), config.warmup_epochs)
        strategy.begin_epoch(*stages.schedule(epoch))
        rates.append(strategy.skip_dropout().item())
    for stage, first in enumerate((0.1, 0.4, 0.7)):
        for e in range(25):  # as their code counts, from 0 on
            expected = first * (24 - e) / 25 if e < 10 else first * math.exp(-0.2 * (e - 10))
            assert rates[25 * stage + e] == pytest.approx(expected, rel=1e-12)
    assert [stages.config(stage).layers for stage in range(3)] == [5, 11, 17]
    assert [stage.candidates for stage in strategy.stages] == [8, 5, 3]


def theirs(probabilities, most):
    """Restrict the skip connections of a cell as the code of P-DARTS does; 0 is not there."""
    probabilities = [list(row) for row in probabilities]
    while True:
        kept, best = [], [max(range(1, 8), key=row.__getitem__) for row in probabilities]
        for edges in incoming_edges(4):
            places = list(range(edges.start, edges.stop))
            kept += sorted(places, key=lambda e: -probabilities[e][best[e]])[:2]
        skips = [edge for edge in kept if best[edge] == SKIP]
        if len(skips) <= most:
            return {(edge, PRIMITIVES[best[edge]]) for edge in kept}
        probabilities[min(skips, key=lambda e: probabilities[e][SKIP])][SKIP] = 0.0


def test_the_weakest_skip_connections_go_as_in_the_authors_code():
    generator, counts = torch.Generator().manual_seed(0), []
    for _ in range(20):
        weights = torch.zeros(2, 14, 8, dtype=torch.float64)
        for edge in weights.view(28, 8):  # three candidates, one of them a strong skip connection
            others = torch.tensor([0, 1, 2, 4, 5, 6, 7])[torch.randperm(7, generator=generator)[:2]]
            edge[others] = torch.rand(2, generator=generator, dtype=torch.float64)
            edge[SKIP] = 2 * torch.rand(1, generator=generator, dtype=torch.float64)
        weights /= weights.sum(-1, keepdim=True)
        cells = [
            [[tuple(row) for row in one[node].tolist()] for node in incoming_edges(4)]
            for one in weights
        ]
        for most in (0, 2, 8):
            genotype = with_few_skips(*cells, most)
            assert genotype.reduce == with_few_skips(cells[1], cells[1], 8).normal
            found = {
                (incoming_edges(4)[place // 2].start + source, operation)
                for place, (operation, source) in enumerate(genotype.normal)
            }
            assert found == theirs(weights[0].tolist(), most)
            counts.append((most, sum(operation == "skip_connect" for _, operation in found)))
    assert all(count <= most for most, count in counts)
    assert any(count > 2 for most, count in counts if most == 8)


def test_an_edge_with_nothing_else_keeps_its_skip_connection():
    only = [0.5, 0, 0, 0.5, 0, 0, 0, 0]
    genotype = with_few_skips([[only, only]], [[only, only]], 0)
    assert [operation for operation, _ in genotype.normal] == ["skip_connect"] * 2


def make(rate, **options):
    torch.manual_seed(0)
    rate = None if rate is None else torch.tensor(rate, dtype=torch.float64)
    sizes = {"in_channels": 1, "steps": 2, "skip_dropout": rate}
    return SearchNetwork(4, 3, 3, 2, **sizes | options).double()


def run(network, images):
    torch.manual_seed(1)
    logits = network(images)
    gradients = torch.autograd.grad(
        logits.square().sum(), [*network.parameters(), *network.arch_parameters()]
    )
    return [logits.detach(), *gradients]


CELLS = {
    "attention": {},
    "first": {"selection": "first"},
    "all": {"selection": "all", "edge_normalization": False},
    "all, recompute": {"selection": "all", "memory": "recompute"},
}


@pytest.mark.parametrize("cell", CELLS)
def test_fused_and_by_operator_the_same_values_are_dropped(cell):
    images = torch.randn(17, 1, 16, 16, dtype=torch.float64)
    fused, plain = make(0.5, **CELLS[cell]), make(0.5, **CELLS[cell] | {"backend": "reference"})
    assert all(one.is_fused for one in fused.cells)
    found, expected = run(fused, images), run(plain, images)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
    without = run(make(None, **CELLS[cell]), images)
    assert not torch.allclose(found[0], without[0], atol=1e-3)


def test_values_are_dropped_in_training_only_and_anew_in_each_pass():
    images = torch.randn(4, 1, 16, 16, dtype=torch.float64)
    network, without = make(0.5), make(None)
    one, other = network(images), network(images)
    assert not torch.allclose(one, other, atol=1e-3)
    without.load_state_dict(network.state_dict())  # the statistics are of what was left
    assert torch.equal(network.eval()(images), without.eval()(images))
    network.train().skip_dropout.fill_(0)
    torch.testing.assert_close(network(images), without.train()(images), rtol=1e-12, atol=0)


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A search on few images, whose stages have one more cell each in place of six."""
    images = write_images(tmp_path / "images", 16, 2)
    sizes = {"selection": "all", "edge_normalization": False, "steps": 1, "epochs": 3}
    stages = [replace(one, more_layers=place) for place, one in enumerate(PDarts.stages)]
    monkeypatch.setattr(PDarts, "stages", tuple(stages))
    return small_search(images, strategy="p-darts", **sizes)


def test_a_run_of_three_stages(config, tmp_path):
    whole, again = tmp_path / "whole", tmp_path / "again"
    search(config, whole)
    with interrupted_at(2, 1), pytest.raises(KeyboardInterrupt):
        search(config, again)
    torch.manual_seed(99)
    search(config, again, resume=True)
    assert_same_run(again, whole)

    history = read_json(whole / "history.json")
    assert [entry["stage"] for entry in history] == [1, 2, 3]
    for entry, count in zip(history, (8, 5, 3), strict=True):
        assert all(sum(weight > 0 for weight in row) == count for row in entry["alphas_normal"])
    command = ["derive", str(whole), "--criterion", "strength", "--device", "cpu"]
    assert main([*command, "--init-channels", "4", "--layers", "3"]) == 0
    for name in ("genotype.json", "derived-strength.json"):
        genotype = Genotype.load(whole / name)
        for cell in ("normal", "reduce"):
            rows = history[-1][f"alphas_{cell}"]
            for operation, source in getattr(genotype, cell):
                assert rows[source][PRIMITIVES.index(operation)] > 0
    assert main(["derive", str(whole)]) == 0
    assert Genotype.load(whole / "derived.json") == Genotype.load(whole / "genotype.json")


def test_it_does_not_go_together_with_what_compares_passes():
    message = "lambda-darts compares passes, and p-darts drops other values in each of them"
    with pytest.raises(ValueError, match=message):
        make_strategy("p-darts,lambda-darts")
    both = make_strategy("p-darts,beta-darts")
    assert both.skip_dropout() is both.parts[0].rate
    assert [stage.more_layers for stage in both.stages] == [0, 6, 12]
