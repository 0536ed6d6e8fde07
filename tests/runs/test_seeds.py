"""Searches from several seeds: what they come to, and how they go on."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
import torch
from image_folder import write_images
from run_state import assert_same_run
from small_runs import small_search

from adarts_ext.cli import main
from adarts_ext.files import read_json, write_json
from adarts_ext.genotype import Genotype, random_genotype
from adarts_ext.runs import seeds as seeds_module
from adarts_ext.runs.seeds import parse_seeds
from adarts_ext.search import SearchResult, SweepResult, loop, search, search_seeds
from adarts_ext.search.result import agreement, count

SEEDS = [2, 10, 1]
CELL = ("skip_connect", 0), ("max_pool_3x3", 1), ("sep_conv_3x3", 2), ("avg_pool_3x3", 0)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A search on 16 small images that takes parts of a second."""
    images = write_images(tmp_path_factory.mktemp("images"), 8, 2)
    return small_search(images, learning_rate=0.1, arch_learning_rate=0.1)


@pytest.fixture(scope="module")
def swept(config, tmp_path_factory):
    """The folder of searches from three seeds, and their summary."""
    folder = tmp_path_factory.mktemp("sweeps") / "a sweep"
    return folder, search_seeds(config, folder, SEEDS)


@pytest.fixture
def stops_in(monkeypatch):
    """Let the search of a seed break off in the middle of an epoch; give whose steps were made."""
    whole_epoch, trained = loop.train_epoch, []

    def stop(seed, epoch):
        def train_epoch(state, config, training, *rest):
            trained.append((config.seed, training.epoch))
            whole_epoch(state, config, training, *rest)
            if (config.seed, training.epoch) == (seed, epoch):
                raise KeyboardInterrupt

        monkeypatch.setattr(loop, "train_epoch", train_epoch)
        return trained

    return stop


def test_seeds_are_searched_from_and_summed_up(swept, config, tmp_path):
    folder, summary = swept
    assert isinstance(summary, SweepResult)
    assert summary.seeds == (2, 10, 1)
    assert read_json(folder / "seeds.json") == SEEDS
    assert read_json(folder / "result.json") == summary.record()
    folders = [folder / f"seed-{seed}" for seed in SEEDS]
    assert list(summary.runs) == [SearchResult.load(one) for one in folders]
    accuracies = [read_json(one / "result.json")["validation_accuracy"] for one in folders]
    assert summary.validation_accuracy_mean == statistics.mean(accuracies)
    assert summary.validation_accuracy_std == statistics.stdev(accuracies)
    genotypes = [Genotype.load(one / "genotype.json") for one in folders]
    assert len(set(genotypes)) > 1
    assert summary.agreement == agreement(genotypes)
    for genotype, skips, poolings in zip(
        genotypes, summary.skip_connections, summary.poolings, strict=True
    ):
        assert skips == str(genotype).count("skip_connect")
        assert poolings == str(genotype).count("_pool_3x3")
    assert summary.epochs == 2
    assert summary.seconds == sum(run.seconds for run in summary.runs)
    alone = search(replace(config, seed=10), tmp_path / "alone")
    assert_same_run(folder / "seed-10", alone.folder)


def test_one_seed_is_a_run_of_its_own(swept, config, tmp_path):
    result = search_seeds(replace(config, seed=99), tmp_path / "run", [10])
    assert isinstance(result, SearchResult)
    assert_same_run(tmp_path / "run", swept[0] / "seed-10")
    with pytest.raises(ValueError, match="already holds the run of one seed"):
        search_seeds(config, tmp_path / "run", SEEDS)


@pytest.mark.parametrize("resume", [False, True])
def test_one_seed_is_not_mixed_with_several(swept, config, resume):
    with pytest.raises(ValueError, match="a run for each of several seeds, expected one or none"):
        search(config, swept[0], resume)
    assert not (swept[0] / "config.json").exists()


def test_what_has_ended_stays_and_the_rest_goes_on(swept, config, tmp_path, stops_in):
    folder = tmp_path / "sweep"
    stops_in(10, 2)
    with pytest.raises(KeyboardInterrupt):
        search_seeds(config, folder, SEEDS)
    assert not (folder / "seed-1").exists()
    before = (folder / "seed-2" / "checkpoint.pt").stat().st_mtime_ns
    with pytest.raises(ValueError, match="already holds a run"):
        search_seeds(config, folder, SEEDS)
    stops_in(None, None)
    summary = search_seeds(config, folder, SEEDS, resume=True)
    assert (folder / "seed-2" / "checkpoint.pt").stat().st_mtime_ns == before
    assert summary.seeds == tuple(SEEDS)
    for seed in SEEDS:
        assert_same_run(folder / f"seed-{seed}", swept[0] / f"seed-{seed}")
    with pytest.raises(ValueError, match="begun with epochs 2, cannot go on with 3"):
        search_seeds(replace(config, epochs=3), folder, SEEDS, resume=True)


def test_a_seed_that_diverges_keeps_no_other_from_its_end(config, tmp_path, monkeypatch, capfd):
    whole_epoch = loop.train_epoch

    def train_epoch(state, config, training, *rest):
        if config.seed == SEEDS[1]:
            with torch.no_grad():
                next(state.network.parameters()).fill_(torch.nan)
        whole_epoch(state, config, training, *rest)

    monkeypatch.setattr(loop, "train_epoch", train_epoch)
    with pytest.raises(ValueError, match=f"^1 of 3 runs diverged: seed {SEEDS[1]}; those that did"):
        search_seeds(config, tmp_path, SEEDS)
    assert f"seed {SEEDS[1]}: the training diverged in epoch 1, step 1" in capfd.readouterr().err
    assert [SearchResult.load(tmp_path / f"seed-{seed}") is None for seed in SEEDS] == [
        False,
        True,
        False,
    ]
    others = [SEEDS[0], SEEDS[2]]
    assert search_seeds(config, tmp_path, others, resume=True).seeds == tuple(others)


def test_some_of_the_seeds_may_go_on_and_all_stay_known(swept, config):
    folder, summary = swept
    part = search_seeds(config, folder, [10, 1], resume=True)
    assert part.runs == summary.runs[1:]
    assert read_json(folder / "seeds.json") == SEEDS
    assert search_seeds(config, folder, SEEDS, resume=True) == summary


def test_what_has_ended_needs_no_data(swept, config, monkeypatch):
    folder, summary = swept
    monkeypatch.setattr(seeds_module, "run_data", None)
    assert search_seeds(config, folder, SEEDS, resume=True) == summary


def test_a_result_that_another_version_wrote_is_written_anew(swept, config):
    folder, summary = swept
    path = folder / "seed-1" / "result.json"
    whole = path.read_text()
    record = read_json(path)
    del record["peak_memory_bytes"]
    write_json(path, record)
    assert SearchResult.load(path.parent) is None
    again = search_seeds(config, folder, SEEDS, resume=True)
    assert path.read_text() == whole
    assert again == summary
    path.write_text('{"kind": "retrain"}')
    with pytest.raises(ValueError, match=r"result\.json: damaged, expected the result of a search"):
        search_seeds(config, folder, SEEDS, resume=True)
    path.write_text(whole)


def test_agreement_is_the_mean_share_of_equal_edges():
    def genotype(*edges):
        return Genotype(edges, (2, 3), CELL, (2, 3))

    one = genotype(*CELL)
    turned = genotype(CELL[1], CELL[0], *CELL[2:])  # the order within a node does not matter
    other_node = genotype(CELL[3], CELL[1], CELL[2], CELL[0])  # but the node does
    other_op = genotype(("sep_conv_5x5", 0), *CELL[1:])
    assert agreement([one, turned]) == 1
    assert agreement([one, other_node]) == 6 / 8
    assert agreement([one, other_op]) == 7 / 8
    assert agreement([one, turned, other_op]) == pytest.approx((1 + 7 / 8 + 7 / 8) / 3)
    fewer = genotype(("none", 0), *CELL[1:])  # three of its edges, and four of the other cell
    assert agreement([one, fewer]) == pytest.approx(14 / 15)
    assert (count(one, ("skip_connect",)), count(one, ("max_pool_3x3", "avg_pool_3x3"))) == (2, 4)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0..7", list(range(8))), ("0,1,5", [0, 1, 5]), ("0..3, 9", [0, 1, 2, 3, 9]), ("4", [4])],
)
def test_seeds_are_numbers_and_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1,", "3..1", "0...2", "-1", "1..", "0..1..2", "1.5"])
def test_what_names_no_seeds(text):
    with pytest.raises(ValueError, match=r"commas, or ranges such as 0\.\.7, got"):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["0..10000", "0..5000,6000..12000", "1..99999999999999999999"])
def test_too_many_seeds(text):
    with pytest.raises(ValueError, match="seeds: expected at most 10000 numbers, got"):
        parse_seeds(text)
    assert len(parse_seeds("0..9999")) == 10000


def options(config):
    names = ("dataset", "data_dir", "device", "init_channels", "layers", "steps")
    names += ("proportion", "batch_size", "epochs", "warmup_epochs", "learning_rate")
    names += ("arch_learning_rate",)
    return [f"--{name.replace('_', '-')}={getattr(config, name)}" for name in names]


@pytest.mark.slow
def test_the_command_searches_from_seeds_and_goes_on(config, swept, tmp_path, capfd, stops_in):
    out = tmp_path / "sweep"
    stops_in(2, 1)
    started = ["search", "--seeds", "1..2", *options(config), "--out", str(out)]
    assert main(started) == 130
    error = capfd.readouterr().err
    assert f"{out}: go on from its last checkpoint by: adarts search --seeds 1..2 " in error
    trained = stops_in(None, None)
    trained.clear()
    assert main(["search", "--resume", "--out", str(out)]) == 0
    assert trained == [(2, 1), (2, 2)]
    output = capfd.readouterr()
    summary = read_json(out / "result.json")
    for run, skips in zip(summary["runs"], summary["skip_connections"], strict=True):
        line = f"seed {run['seed']}: validation accuracy {run['validation_accuracy']:.4f}; "
        assert f"{line}of 8 operations are skip connections {skips}, poolings " in output.out
    mean, deviation = summary["validation_accuracy_mean"], summary["validation_accuracy_std"]
    assert f"supernets {mean:.4f} +- {deviation:.4f} after 2 epochs" in output.out
    assert f"share {100 * summary['agreement']:.0f} % of their edges" in output.out
    assert f"adarts retrain {out}/seed-1  # or another seed" in output.out
    assert main(["search", "--resume", "--out", str(out)]) == 0
    assert trained == [(2, 1), (2, 2)]
    assert f"{out}: the run has ended already" in capfd.readouterr().err
    assert main(["search", "--resume", "--out", str(out), "--seed", "3"]) == 2
    assert "--seed: expected none, as the seeds are 1, 2, got 3" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("command", [["retrain"], ["draw"], ["draw", "--format", "darts"]])
def test_a_run_of_a_sweep_has_to_be_named(command, swept, capsys):
    folder = swept[0]
    assert main([command[0], str(folder), *command[1:]]) == 1
    names = ", ".join(str(folder / f"seed-{seed}") for seed in sorted(SEEDS))
    message = f"error: {folder}: holds a run for each seed; name one of {names}\n"
    assert capsys.readouterr().err.endswith(message)


def test_random_genotypes_hardly_agree():
    assert 0 < agreement([random_genotype(seed) for seed in range(20)]) < 0.1
