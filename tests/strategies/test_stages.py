"""Searches in stages: fewer candidates, other networks, what goes on, and going on within one."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from image_folder import write_images
from run_state import assert_same_run, interrupted_at
from small_runs import small_search

from adarts_ext.files import read_json
from adarts_ext.genotype import PRIMITIVES
from adarts_ext.nn.candidates import present
from adarts_ext.runs.checkpoint import load_checkpoint
from adarts_ext.search import SearchConfig, loop, search
from adarts_ext.search.stage_state import next_stage, prepare
from adarts_ext.search.stages import Stages
from adarts_ext.strategies import DrNas, Strategy, make_strategy
from adarts_ext.strategies.stage import Stage

OWN = """\
from adarts_ext.strategies import Strategy
from adarts_ext.strategies.stage import Stage

class Deeper(Strategy):
    stages = Stage(), Stage(candidates=3, more_layers=1)
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), 16, 2)


@pytest.fixture
def deeper(tmp_path):
    (tmp_path / "deeper.py").write_text(OWN)
    return f"{tmp_path / 'deeper.py'}:Deeper"


def of_drnas(images, **changes) -> SearchConfig:
    sizes = {"selection": "first", "edge_normalization": False, "init_channels": 12}
    return small_search(images, strategy="drnas", **sizes | {"proportion": 6} | changes)


@pytest.mark.parametrize("own", [False, True])
def test_a_search_goes_on_within_the_second_stage(own, deeper, images, tmp_path):
    config = small_search(images, strategy=deeper) if own else of_drnas(images)
    whole = search(config, tmp_path / "whole")
    with interrupted_at(2, 1), pytest.raises(KeyboardInterrupt):
        search(config, tmp_path / "again")
    state = load_checkpoint(tmp_path / "again" / "checkpoint.pt")
    assert state["under_way"]["step"] == 1
    torch.manual_seed(99)
    search(config, tmp_path / "again", resume=True)
    assert_same_run(tmp_path / "again", tmp_path / "whole")
    network = load_checkpoint(tmp_path / "whole" / "checkpoint.pt")["network"]
    kept = present(torch.cat([network["alphas_normal"], network["alphas_reduce"]]))
    assert kept.sum(-1).eq(3 if own else 4).all()
    assert own or not kept[:, PRIMITIVES.index("none")].any()
    assert ("cells.3.preprocess1.op.1.weight" in network) == own
    for kind in ("normal", "reduce"):
        mask = present(network[f"alphas_{kind}"])
        for place, (operation, source) in enumerate(getattr(whole.genotype, kind)):
            assert mask[source + 2 * (place // 2), PRIMITIVES.index(operation)]
    history = read_json(tmp_path / "whole" / "history.json")
    assert [entry["stage"] for entry in history] == [1, 2]
    rates = [entry["learning_rate"] for entry in history]
    assert (rates[0] == rates[1]) == own  # a schedule of its own


def test_a_stage_keeps_the_largest_alphas_and_begins_anew(deeper, images):
    config = small_search(images, strategy=deeper)
    data = loop.run_data(config, None)
    state, _ = prepare(config, data)
    with torch.no_grad():
        for alphas in (state.network.alphas_normal, state.network.alphas_reduce):
            alphas.copy_(torch.stack([torch.randperm(8) for _ in alphas]))
    begun = next_stage(state, Stages(config, state.strategy), 1, data)
    assert len(begun.network.cells) == 4
    assert all(cell.is_fused for cell in begun.network.cells)
    for kind in ("alphas_normal", "alphas_reduce"):
        before, after = getattr(state.network, kind), getattr(begun.network, kind)
        assert torch.equal(before >= 5, present(after))
        assert (after[present(after)].abs() < 0.01).all()  # anew
    assert begun.train_loader is state.train_loader


def test_drnas_keeps_all_but_none_where_nothing_is_to_go():
    alphas = torch.randn(3, 8)
    alphas[:, PRIMITIVES.index("none")] = 9
    assert DrNas().keep(alphas, 8).sum(-1).tolist() == [7, 7, 7]
    assert not DrNas().keep(alphas, 8)[:, PRIMITIVES.index("none")].any()


def channels_of(weight):
    """What each output channel has, as something to find."""
    return [tuple(one.flatten().tolist()) for one in weight]


def test_drnas_goes_on_with_what_it_has_in_wider_candidates(images):
    config = of_drnas(images, arch_learning_rate=0.5)
    data = loop.run_data(config, None)
    state, _ = prepare(config, data)
    passes = loop.Passes(state, config, torch.device("cpu"))
    for _ in range(2):
        passes.train_architecture(*state.validation_loader.next())
        passes.train_weights(*state.train_loader.next())
    begun = next_stage(state, Stages(config, state.strategy), 1, data)
    assert begun.network.proportion == 4
    here = present(begun.network.alphas_normal)
    assert here.sum(-1).eq(4).all()
    assert torch.equal(begun.network.alphas_normal[here], state.network.alphas_normal[here])
    for old, new in zip(state.network.cells, begun.network.cells, strict=True):
        assert torch.equal(old.preprocess1.op[1].weight, new.preprocess1.op[1].weight)
        for before, after in zip(old._ops, new._ops, strict=True):
            channels = before.selected_channels
            assert after.selected_channels == channels * 3 // 2
            for place in (4, 5, 6, 7):  # the convolutions
                new_weights = [one.detach() for one in after._ops[place].parameters()][:2]
                if not new_weights:
                    continue
                depthwise, pointwise = [one.detach() for one in before._ops[place].parameters()][:2]
                assert torch.equal(new_weights[0][:channels], depthwise)
                assert torch.equal(new_weights[1][:channels, :channels], pointwise)
                known = channels_of(depthwise)
                columns = [known.index(one) for one in channels_of(new_weights[0])]
                known = channels_of(pointwise)
                rows = [known.index(one[:channels]) for one in channels_of(new_weights[1])]
                assert torch.equal(new_weights[1], pointwise[rows][:, columns])
    moments = [
        optimizer.state[optimizer.param_groups[0]["params"][0]]["exp_avg"]
        for optimizer in (state.arch_optimizer, begun.arch_optimizer)
    ]
    assert torch.equal(*moments)
    # The momentum is widened as the weights are: a step of it alone keeps the copies alike.
    flat = begun.network.cells[0].flat
    momentum = begun.weight_optimizer.state[flat]["momentum_buffer"]
    assert momentum.any()
    weights = begun.network.cells[0].candidate_weights()
    parts = momentum.split([one.numel() for one in weights])
    for weight, part in zip(weights, parts, strict=True):
        if weight.shape[1] == 1:  # depthwise
            alike = {}
            for channel, moved in zip(channels_of(weight), part.view(weight.shape), strict=True):
                assert torch.equal(alike.setdefault(channel, moved), moved)


def test_the_epochs_are_shared_out(images):
    strategy = DrNas()
    stages = Stages(of_drnas(images, epochs=5, warmup_epochs=1), strategy)
    assert [stages.of(epoch) for epoch in range(1, 6)] == [0, 0, 1, 1, 1]
    assert [stages.within(epoch) for epoch in (1, 2, 3)] == [(1, 2), (2, 2), (1, 3)]
    assert stages.schedule(3) == (3, 5)
    assert [stages.warming_up(epoch) for epoch in range(1, 6)] == [True, False, True, False, False]
    one = Stages(small_search(images), Strategy())
    assert [one.of(epoch) for epoch in (1, 2)] == [0, 0]
    assert one.schedule(2) == one.within(2) == (2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warmup_epochs": 1}, "epochs: expected at least 4 with strategy drnas, .* got 2"),
        ({"proportion": 2}, "proportion: expected at least 4 with strategy drnas, .* got 2"),
        ({"init_channels": 6}, "proportion: expected a divisor of init_channels 6, got 4"),
    ],
)
def test_stages_that_cannot_be_are_refused(changes, message, images, tmp_path):
    with pytest.raises(ValueError, match=message):
        search(of_drnas(images, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_stages_that_go_on_have_as_many_cells(deeper, images, monkeypatch):
    config, strategy = small_search(images, strategy=deeper), make_strategy(deeper)
    monkeypatch.setattr(type(strategy), "carries_over", True)
    with pytest.raises(ValueError, match=r"strategy: expected stages of as many cells.* 3 and 4"):
        Stages(config, strategy)


def test_the_hessians_of_stages_are_not_compared(deeper, images):
    config = small_search(images, strategy=deeper, hessian_every=1)
    with pytest.raises(ValueError, match=r"hessian_every: expected 0 with strategy .*Deeper"):
        Stages(config, make_strategy(deeper))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("drnas,{}", "drnas and .*:Deeper both say which stages there are"),
        ("sdarts-rs,{}", "sdarts-rs is about the weights of all candidates, and .*:Deeper leaves"),
        ("drnas,oles", "oles keeps tensors of one network's weights, and drnas goes on with"),
    ],
)
def test_stages_go_together_with_few(text, message, deeper):
    with pytest.raises(ValueError, match=f"strategy: .*{message}"):
        make_strategy(text.format(deeper))


def test_stages_go_together_with_a_loss(deeper):
    both = make_strategy(f"beta-darts,{deeper}")
    assert [stage.candidates for stage in both.stages] == [8, 3]
    assert not both.carries_over
    assert make_strategy("drnas").carries_over


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates": 1}, "candidates: expected at least 2, got 1"),
        ({"skip_dropout": 1.0}, "skip_dropout: expected at least 0 and less than 1, got 1.0"),
        ({"more_layers": -1}, "more_layers: expected at least 0, got -1"),
    ],
)
def test_a_stage_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=f"^Stage: {message}"):
        dataclasses.replace(Stage(), **changes)
