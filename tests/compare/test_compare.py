"""Comparisons: the runs that are made, what is not made again, and what they come to."""

from __future__ import annotations

import shutil
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from image_folder import write_images
from run_state import assert_equal_state, interrupted_in
from small_runs import small_retrain, small_search

from adarts_ext.cli import main
from adarts_ext.compare import Plan, compare
from adarts_ext.compare.plan import RANDOM
from adarts_ext.compare.rows import read_runs
from adarts_ext.compare.runs import genotype_at_random
from adarts_ext.genotype import Genotype, random_genotype
from adarts_ext.retrain import loop as retrain_loop
from adarts_ext.search import SearchConfig
from adarts_ext.search import loop as search_loop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    images = write_images(tmp_path_factory.mktemp("images"), 16, 4)
    arms = {
        "attention": small_search(images, steps=1),
        "random channels": small_search(images, steps=1, selection="random"),
    }
    return Plan(arms, (0, 3), small_retrain(images, epochs=1), random_genotypes=1)


@pytest.fixture(scope="module")
def whole(plan, tmp_path_factory):
    """A comparison that was made without a break."""
    folder = tmp_path_factory.mktemp("compared") / "whole"
    compare(plan, folder)
    return folder


def test_every_arm_searches_from_every_seed_and_what_it_finds_is_trained(plan, whole):
    rows = read_runs(whole / "runs.jsonl")
    assert [(row["arm"], row["seed"]) for row in rows] == [
        ("attention", 0),
        ("random channels", 0),
        (RANDOM, 0),
        ("attention", 3),
        ("random channels", 3),
    ]
    for row in rows:
        folder = whole / row["arm"] / f"seed-{row['seed']}"
        assert Genotype.load(folder / "retrain" / "genotype.json") == Genotype(**row["genotype"])
        assert row["retrain"]["seed"] == row["seed"]
        if row["arm"] == RANDOM:
            assert row["search"] is None
            assert Genotype(**row["genotype"]) == random_genotype(0, steps=1)
        else:
            assert Genotype.load(folder / "search" / "genotype.json") == Genotype(**row["genotype"])
            assert row["search"]["seed"] == row["seed"]
            assert row["search"]["kept_bytes"] > 0
    text = (whole / "comparison.md").read_text()
    for arm in (*plan.arms, RANDOM):
        assert text.count(f"| {arm} ") == 2  # a line in each table
    ElementTree.parse(whole / "comparison.svg")


def test_genotypes_at_random_are_of_what_the_first_arm_chooses_from():
    arms = {"S2": SearchConfig(space="s2", steps=3), "DARTS": SearchConfig()}
    expected = random_genotype(5, 3, ("skip_connect", "sep_conv_3x3"))
    assert genotype_at_random(Plan(arms, (0,)), 5) == expected


@pytest.mark.parametrize("loop", [search_loop, retrain_loop])
def test_a_comparison_that_was_broken_off_ends_as_the_whole_one(loop, plan, whole, tmp_path):
    with interrupted_in(1 if loop is retrain_loop else 2, loop), pytest.raises(KeyboardInterrupt):
        compare(plan, tmp_path)
    compare(plan, tmp_path, resume=True)
    ours, theirs = (read_runs(folder / "runs.jsonl") for folder in (tmp_path, whole))
    assert_equal_state(ours, theirs)


def test_what_the_file_has_is_not_made_again_and_arms_may_come(plan, whole, tmp_path, monkeypatch):
    for name in ("plan.json", "runs.jsonl"):  # all that has to be kept
        shutil.copy(whole / name, tmp_path)
    first = plan.arms["attention"]
    larger = replace(plan, arms={**plan.arms, "first": replace(first, selection="first")})
    rows = compare(larger, tmp_path, resume=True)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["first"]
    assert len(rows) == 7
    monkeypatch.setattr(search_loop, "train_epoch", None)  # nothing is left to do
    assert len(compare(plan, tmp_path, resume=True)) == 5
    assert "first" not in (tmp_path / "comparison.md").read_text()


def test_another_comparison_is_not_mixed_in(plan, whole, capsys):
    with pytest.raises(ValueError, match="already holds a comparison; go on with it by resume"):
        compare(plan, whole)
    other = replace(plan.arms["attention"], learning_rate=0.5)
    changed = replace(plan, arms={**plan.arms, "attention": other})
    with pytest.raises(ValueError, match="the arm 'attention' was begun with learning_rate"):
        compare(changed, whole, resume=True)
    with pytest.raises(ValueError, match="the training was begun with epochs 1, cannot go on with"):
        compare(replace(plan, retrain=replace(plan.retrain, epochs=2)), whole, resume=True)
    with pytest.raises(ValueError, match="was begun with a training, cannot go on without one"):
        compare(replace(plan, retrain=None, random_genotypes=0), whole, resume=True)


def test_what_does_not_fit_leaves_no_folder(plan, tmp_path):
    arms = {**plan.arms, "large": replace(plan.arms["attention"], batch_size=64)}
    with pytest.raises(ValueError, match="batch_size: expected at most as many images"):
        compare(replace(plan, arms=arms), tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_run_that_diverges_keeps_no_other_from_being_made(plan, tmp_path, capfd):
    wild = replace(plan.arms["attention"], learning_rate=1e30, grad_clip=1e30)
    arms = {"attention": plan.arms["attention"], "wild": wild}
    with pytest.raises(ValueError, match=r"^2 of 4 runs diverged: wild, seed 0; wild, seed 3; "):
        compare(Plan(arms, (0, 3)), tmp_path)
    assert "wild, seed 3: the training diverged in epoch 1" in capfd.readouterr().err
    assert [row["seed"] for row in read_runs(tmp_path / "runs.jsonl")] == [0, 3]


def test_searches_alone(plan, tmp_path):
    one = Plan({"attention": plan.arms["attention"]}, (0,))
    (row,) = compare(one, tmp_path)
    assert row["retrain"] is None
    assert "test error" not in (tmp_path / "comparison.md").read_text()
    assert not (tmp_path / "comparison.svg").exists()


def test_the_command_prints_the_table(plan, whole, capsys):
    assert main(["compare", "--resume", "--out", str(whole)]) == 0
    printed = capsys.readouterr().out
    assert (whole / "comparison.md").read_text().strip() in printed
    assert f"drawn in {whole / 'comparison.svg'}" in printed


def test_a_damaged_file_is_named(plan, whole, tmp_path):
    shutil.copy(whole / "plan.json", tmp_path)
    (tmp_path / "runs.jsonl").write_text('{"arm": "attention"}\n')
    with pytest.raises(ValueError, match=r"runs.jsonl: line 1 is not the run of a comparison"):
        compare(plan, tmp_path, resume=True)
    (tmp_path / "plan.json").write_text('{"arms": 3}')
    with pytest.raises(ValueError, match=r"plan.json: damaged"):
        Plan.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {}}, "arms: expected at least one, got none"),
        ({"arms": {"a/b": SearchConfig()}}, "arms: expected names of letters, .* got 'a/b'"),
        ({"arms": {"..": SearchConfig()}}, "arms: expected names of letters, .* got '..'"),
        ({"arms": {RANDOM: SearchConfig()}}, "arms: expected names"),
        ({"seeds": ()}, "seeds: expected different numbers"),
        ({"random_genotypes": -1}, "random_genotypes: expected at least 0, got -1"),
        ({"random_genotypes": 2}, "random_genotypes: expected 0 without a training"),
    ],
)
def test_plans_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        Plan(**{"arms": {"a": SearchConfig()}, "seeds": (0,)} | changes)
