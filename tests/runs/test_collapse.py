"""The monitor of a search: what it sees, its signs of a collapse, and the search that it stops."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from image_folder import write_images
from run_state import assert_same_run, interrupted_in
from small_runs import small_search
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from adarts_ext.cli import main
from adarts_ext.files import read_json
from adarts_ext.genotype import KNOWN, PRIMITIVES, Genotype, incoming_edges
from adarts_ext.search import CollapseMonitor, SearchConfig, loop, search, search_seeds
from adarts_ext.search.collapse import WINDOW


def supernet(genotype=None):
    """Alphas and betas of which a genotype is derived; without one all are alike."""
    found = {}
    for cell in ("normal", "reduce"):
        alphas, betas = torch.zeros(14, len(PRIMITIVES)), torch.zeros(14)
        for place, (op, source) in enumerate(getattr(genotype, cell, ())):
            edge = incoming_edges(4)[place // 2].start + source
            alphas[edge, PRIMITIVES.index(op)] = 2.0
            betas[edge] = 1.0
        found |= {f"alphas_{cell}": alphas, f"betas_{cell}": betas}
    return SimpleNamespace(**found)


def normal_cell(*ops):
    """A genotype whose normal cell has these operations."""
    edges = [(op, place % 2) for place, op in enumerate(ops)]
    convolutions = [("sep_conv_3x3", place % 2) for place in range(8)]
    return Genotype(edges, (2, 3, 4, 5), convolutions, (2, 3, 4, 5))


def with_skips(count):
    return normal_cell(*["skip_connect"] * count, *["sep_conv_3x3"] * (8 - count))


def test_what_it_sees_is_that_of_the_genotype():
    genotype = normal_cell(*["skip_connect"] * 2, "max_pool_3x3", *["dil_conv_5x5"] * 5)
    seen = CollapseMonitor().observe(supernet(genotype), eigenvalue=0.5)
    assert (seen["skip_connections_normal"], seen["poolings_normal"]) == (2, 1)
    assert (seen["skip_connections_reduce"], seen["poolings_reduce"]) == (0, 0)
    assert seen["hessian_eigenvalue"] == 0.5
    assert seen["collapse"] == []


def test_entropy_and_margin_are_means_over_the_edges():
    network = supernet()
    network.alphas_normal[0] = torch.tensor([0.7, 0.1, 0.05, 0.05, 0.05, 0.02, 0.02, 0.01]).log()
    network.alphas_reduce[:, PRIMITIVES.index("none")] = 5.0  # never chosen
    seen = CollapseMonitor().observe(network)
    entropy = -sum(p * math.log(p) for p in (0.7, 0.1, 0.05, 0.05, 0.05, 0.02, 0.02, 0.01))
    expected = (13 + entropy / math.log(8)) / 14
    assert seen["alphas_normalized_entropy_normal"] == pytest.approx(expected)
    assert seen["alphas_margin_normal"] == pytest.approx((0.1 - 0.05) / 14)
    assert seen["alphas_margin_reduce"] == 0
    assert 0 < seen["alphas_normalized_entropy_reduce"] < 0.5


def test_code_without_betas_is_looked_at_too():
    network = supernet(with_skips(0))
    del network.betas_normal, network.betas_reduce
    assert CollapseMonitor().observe(network)["betas_normal"] is None


@pytest.mark.parametrize(("skips", "collapses"), [(1, False), (2, False), (3, True), (4, True)])
def test_many_skip_connections_in_the_normal_cell_are_a_sign(skips, collapses):
    monitor = CollapseMonitor()
    signs = monitor.observe(supernet(with_skips(skips)))["collapse"]
    expected = f"{skips} of the normal cell's 8 operations are skip connections"
    assert signs == [expected] * collapses
    assert monitor.collapsed == collapses
    darts_plus = CollapseMonitor(collapse_skips=2).observe(supernet(with_skips(skips)))
    assert bool(darts_plus["collapse"]) == (skips >= 2)


def test_of_the_published_cells_that_of_first_order_darts_alone_is_judged_collapsed():
    judged = {name: CollapseMonitor().observe(supernet(one)) for name, one in KNOWN.items()}
    assert [name for name, seen in judged.items() if seen["collapse"]] == ["DARTS_V1"]


def test_a_normal_cell_without_weights_is_a_sign_and_a_reduction_cell_is_not():
    poolings = normal_cell(*["max_pool_3x3", "avg_pool_3x3"] * 3, *["skip_connect"] * 2)
    sign = "no operation of the normal cell has weights"
    fewer = Genotype(
        (("skip_connect", 0), ("none", 1), ("max_pool_3x3", 2), ("none", 0)),
        (2, 3),
        *((("sep_conv_3x3", 0), ("sep_conv_3x3", 1)) * 2, (2, 3)),
    )
    assert sign in CollapseMonitor().observe(supernet(KNOWN["DARTS_V2"]), None, fewer)["collapse"]
    assert CollapseMonitor().observe(supernet(poolings))["collapse"] == [sign]
    good = with_skips(0)
    swapped = dataclasses.replace(good, reduce=poolings.normal)
    assert CollapseMonitor().observe(supernet(swapped))["collapse"] == []


def eigenvalues_seen(values):
    """Let a monitor see a good cell and an eigenvalue, epoch by epoch."""
    monitor = CollapseMonitor()
    for value in values:
        monitor.observe(supernet(with_skips(0)), value)
    return monitor


@pytest.mark.parametrize(("present", "collapses"), [(1.0, False), (1.33, False), (1.34, True)])
def test_eigenvalues_that_grow_by_a_third_are_a_sign(present, collapses):
    values = [1.0] * WINDOW + [present] * WINDOW  # 1 / 1.3333 is 0.75
    assert not eigenvalues_seen(values[:-1]).collapsed
    monitor = eigenvalues_seen(values)
    assert monitor.collapsed == collapses
    assert monitor.last_good_epoch == (3 if collapses else 10)  # i - k in R-DARTS, with k = 5


def test_epochs_without_an_eigenvalue_do_not_count():
    monitor = CollapseMonitor()
    for epoch in range(1, 21):
        value = None if epoch % 2 else float(epoch)
        seen = monitor.observe(supernet(with_skips(0)), value)
    assert seen["collapse"] == [
        "the largest eigenvalue of the Hessian has grown from 6 (epochs 2 to 10) to 16 (12 to 20)"
    ]
    assert monitor.last_good_epoch == 6


def test_the_last_good_epoch_is_the_last_one_without_a_sign():
    monitor = CollapseMonitor(warmup_epochs=1)
    found = []
    for skips in (4, 4, 1, 2, 3, 1, 5):
        seen = monitor.observe(supernet(with_skips(skips)))
        found.append((seen["collapse"] and len(seen["collapse"]), monitor.last_good_epoch))
    assert found == [(None, None), (1, None), ([], 3), ([], 4), (1, 4), ([], 6), (1, 6)]


def test_a_monitor_goes_on_from_what_it_gave():
    values = [1.0] * WINDOW + [2.0] * WINDOW
    whole, first = eigenvalues_seen(values), CollapseMonitor()
    records = [first.observe(supernet(with_skips(0)), value) for value in values[:7]]
    second = CollapseMonitor(history=records)
    for value in values[7:]:
        seen = second.observe(supernet(with_skips(0)), value)
    assert seen["collapse"]
    assert (second.collapsed, second.last_good_epoch) == (whole.collapsed, whole.last_good_epoch)


@pytest.mark.parametrize("wrong", [{"collapse_skips": 0}, {"warmup_epochs": -1}])
def test_an_argument_out_of_range_is_named(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name}: expected at least"):
        CollapseMonitor(**wrong)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    images = write_images(tmp_path_factory.mktemp("images"), 8, 2)
    return small_search(images, epochs=5, arch_learning_rate=0.05, steps=1, hessian_every=2)


@pytest.fixture
def skips(monkeypatch):
    """Let the alphas of a search's epochs stand for cells of so many skip connections."""

    def set_skips(*counts):
        whole_epoch = loop.train_epoch

        def train_epoch(state, config, training, *rest):
            whole_epoch(state, config, training, *rest)
            alphas = state.network.alphas_normal
            with torch.no_grad():
                alphas[:, 3:5] = -9.0
                for edge in range(2):
                    alphas[edge, 3 if edge < counts[training.epoch - 1] else 4] = 9.0

        monkeypatch.setattr(loop, "train_epoch", train_epoch)

    return set_skips


def test_a_search_records_what_the_monitor_sees(config, tmp_path, skips):
    skips(1, 1, 1, 1, 1)
    search(config, tmp_path / "run")
    history = read_json(tmp_path / "run" / "history.json")
    measured = [entry["hessian_eigenvalue"] for entry in history]
    assert [value is not None for value in measured] == [False, True, False, True, False]
    assert measured[1] != measured[3]
    assert [entry["collapse"] for entry in history] == [[]] * 5
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [point.step for point in events.Scalars("hessian/eigenvalue")] == [2, 4]
    for name in ("skip_connections", "poolings", "alphas_normalized_entropy", "alphas_margin"):
        for cell in ("normal", "reduce"):
            points = [point.value for point in events.Scalars(f"{name}/{cell}")]
            assert points == pytest.approx([entry[f"{name}_{cell}"] for entry in history])


def test_measuring_the_hessian_leaves_the_search_as_it_is(config, tmp_path):
    config = dataclasses.replace(config, epochs=3)
    search(config, tmp_path / "measured")
    search(dataclasses.replace(config, hessian_every=0), tmp_path / "plain")
    measured, plain = (
        read_json(tmp_path / name / "history.json") for name in ("measured", "plain")
    )
    for name in ("alphas_normal", "betas_reduce", "validation_loss", "train_loss"):
        assert [entry[name] for entry in measured] == [entry[name] for entry in plain]


def test_a_search_that_collapses_stops_with_the_last_good_genotype(config, tmp_path, skips, capsys):
    skips(2, 1, 1, 2, 1)  # the first has none before it
    options = {"stop_on_collapse": True, "collapse_skips": 2, "hessian_every": 0}
    config = dataclasses.replace(config, **options)
    folder = tmp_path / "run"
    result = search(config, folder)
    assert (result.epochs, result.genotype_epoch) == (4, 3)
    assert result.collapse[0] == "2 of the normal cell's 2 operations are skip connections"
    assert result.genotype == Genotype.load(folder / "genotypes" / "epoch-0003.json")
    assert Genotype.load(folder / "genotype.json") == result.genotype
    assert read_json(folder / "result.json") == result.record()
    lines = capsys.readouterr().err.splitlines()
    assert ["; warning: 2 of the normal" in line for line in lines] == [True, False, False, True]
    assert search(config, folder, resume=True) == result  # no further epoch
    assert len(read_json(folder / "history.json")) == 4


def test_without_the_option_it_warns_and_goes_on(config, tmp_path, skips):
    skips(1, 1, 2, 2, 2)
    config = dataclasses.replace(config, collapse_skips=2, hessian_every=0)
    result = search(config, tmp_path / "run")
    assert (result.epochs, result.genotype_epoch, len(result.collapse)) == (5, 5, 2)


def test_a_resumed_search_stops_at_the_same_epoch_with_the_same_bits(config, tmp_path, skips):
    skips(1, 1, 1, 2, 1)
    config = dataclasses.replace(config, stop_on_collapse=True, collapse_skips=2)
    search(config, tmp_path / "whole")
    with interrupted_in(4, loop), pytest.raises(KeyboardInterrupt):
        search(config, tmp_path / "run")
    assert search(config, tmp_path / "run", resume=True).genotype_epoch == 3
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_the_command_says_why_it_stopped(config, tmp_path, skips, capsys):
    skips(1, 2, 1, 1, 1)
    options = {"data-dir": config.data_dir, "dataset": "folder", "epochs": 3, "steps": 1}
    options |= {"init-channels": 4, "layers": 3, "batch-size": 8, "proportion": 2}
    options |= {"warmup-epochs": 0, "collapse-skips": 2, "out": tmp_path / "run", "device": "cpu"}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    assert main(["search", *arguments, "--stop-on-collapse"]) == 0
    text = capsys.readouterr().out
    assert "the search collapses: 2 of the normal cell's 2 operations are skip" in text
    assert "so it was stopped; the cells are those after epoch 1" in text
    assert "after 2 epochs" in text


def test_the_epochs_of_a_sweep_are_those_of_its_longest_search(config, tmp_path, monkeypatch):
    whole_epoch = loop.train_epoch

    def train_epoch(state, config, training, *rest):
        whole_epoch(state, config, training, *rest)
        with torch.no_grad():
            state.network.alphas_normal[:, 4] = 9.0
            if config.seed == 0 and training.epoch == 2:
                state.network.alphas_normal[:, 3] = 20.0

    monkeypatch.setattr(loop, "train_epoch", train_epoch)
    config = dataclasses.replace(config, epochs=3, stop_on_collapse=True, hessian_every=0)
    result = search_seeds(config, tmp_path / "runs", [0, 1])
    assert [run.epochs for run in result.runs] == [2, 3]
    assert result.epochs == 3


def test_random_channels_have_no_hessian():
    with pytest.raises(ValueError, match="hessian_every: expected another selection than random"):
        SearchConfig(selection="random", hessian_every=1)
    with pytest.raises(ValueError, match="hessian_every: expected at least 0, got -1"):
        SearchConfig(hessian_every=-1)
    with pytest.raises(ValueError, match="collapse_skips: expected at least 1, got 0"):
        SearchConfig(collapse_skips=0)
