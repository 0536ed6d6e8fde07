"""The YAML file of a plan: what it gives, and how what is wrong in it is told."""

from __future__ import annotations

import pytest

from adarts_ext.cli import main
from adarts_ext.cli.compare import read_plan
from adarts_ext.search import SearchConfig

PLAN = """
seeds: 0..2
random_genotypes: 3
both: {dataset: digits, train_images: 500}
search: {epochs: 4, warmup-epochs: 1, arch_learning_rate: 3e-3}
retrain: {epochs: 2}
arms:
  attention:
  DARTS: {selection: all, proportion: 1}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / "plan.yaml").write_text(text)
        return "plan.yaml"

    return write


def test_options_of_both_of_the_search_and_of_the_arm(write):
    plan = read_plan(write(PLAN))
    options = {"train_images": 500, "epochs": 4, "warmup_epochs": 1, "arch_learning_rate": 0.003}
    assert plan.arms == {
        "attention": SearchConfig(**options),
        "DARTS": SearchConfig(**options, selection="all", proportion=1),
    }
    assert plan.seeds == (0, 1, 2)
    assert (plan.retrain.epochs, plan.retrain.train_images) == (2, 500)
    assert plan.random_genotypes == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds: 0..2", "seeds: a", "plan.yaml: seeds: expected whole numbers"),
        ("seeds: 0..2", "sedes: 0..2", "plan.yaml: unknown option 'sedes'; did you mean seeds?"),
        ("both: {", "both: [", "plan.yaml: damaged, or not YAML"),
        ("search: {epochs: 4,", "search: {epochs: 0,", "arms: attention: epochs: expected at"),
        ("retrain: {epochs: 2}", "retrain: 3", "plan.yaml: retrain: expected options"),
        ("retrain: {epochs: 2}", "retrain: {steps: 2}", "plan.yaml: retrain: unknown option"),
        ("retrain: {epochs: 2}", "retrain: {seed: 2}", "plan.yaml: retrain: unknown option 'seed'"),
        ("retrain: {epochs: 2}", "", "plan.yaml: random_genotypes: expected 0 without"),
        ("  attention:", "  attention: 3", "plan.yaml: arms: attention: expected options"),
        ("proportion: 1", "proportion: 2", "arms: DARTS: proportion: expected none, as selection"),
        ("  attention:", "  a/b:", "plan.yaml: arms: expected names"),
        ("attention:", "attention: {strategy: gdsa}", "got 'gdsa'; did you mean gdas?"),
        (
            "attention:",
            "attention: {strategy: a.py:B}",
            "by name, as a plan runs no file, got a.py",
        ),
        ("arms:\n  attention:\n  DARTS: {selection: all, proportion: 1}", "", "at least one"),
        ("arms:\n  attention:\n  DARTS: {selection: all, proportion: 1}", "arms: 3", "arms: expec"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(old, new, message, write, capsys):
    assert old in PLAN
    assert main(["compare", write(PLAN.replace(old, new)), "--out", "made"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_usage(write, capsys):
    assert main(["compare"]) == 2
    assert "expected the plan of the comparison: PLAN" in capsys.readouterr().err
    assert main(["compare", "none.yaml"]) == 1
    assert "none.yaml: No such file" in capsys.readouterr().err
    assert main(["compare", "--resume", "--out", "none"]) == 1
    assert "none: no comparison to go on with" in capsys.readouterr().err
