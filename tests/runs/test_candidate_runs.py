"""A candidate of one's own, and noise, through all commands: from the search to the report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from run_state import assert_same_run, interrupted_in

from adarts_ext.cli import main
from adarts_ext.data import ImageDataset
from adarts_ext.derivation import exact_strengths, measure
from adarts_ext.derivation.searched import load_searched
from adarts_ext.export import InputImages, export_network
from adarts_ext.files import read_json
from adarts_ext.genotype import PRIMITIVES, Genotype, derive
from adarts_ext.genotype.operations import OWN
from adarts_ext.nn import DerivedNetwork, load_candidates
from adarts_ext.nn.own_candidates import LOADED
from adarts_ext.retrain import derive_within
from adarts_ext.retrain.config import RetrainConfig
from adarts_ext.retrain.cost import ImageKind
from adarts_ext.runs.experiment import SeedRun
from adarts_ext.runs.share import describe_share, read_share
from adarts_ext.search import SearchConfig, loop, search
from adarts_ext.search.seeds import SEARCH
from adarts_ext.strategies import make_strategy

pytestmark = pytest.mark.slow

FILE = str(Path(__file__).parents[2] / "examples" / "own_candidate.py")
NAME = "conv_1x7_7x1"
OWN_SPACE = f"skip_connect,sep_conv_3x3,{NAME}"
DATA = ["--dataset", "digits", "--device", "cpu", "--batch-size", "16", "--epochs", "1"]
CELLS = ["--init-channels", "4", "--layers", "3"]
SEARCH_OPTIONS = [*DATA, *CELLS, "--train-images", "48", "--steps", "1", "--proportion", "2"]
SEARCH_OPTIONS += ["--warmup-epochs", "0", "--arch-learning-rate", "0.2"]
NETWORK = [*CELLS, "--image-size", "16", "--in-channels", "1"]
MINE = ["--candidates", FILE]


@pytest.fixture(autouse=True)
def forgotten(own_candidates):
    """Every test begins as a process does, without what others have registered."""
    OWN.pop(NAME, None)
    LOADED.clear()


def run(*words, status=0):
    assert main(list(map(str, words))) == status


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder of a search among three candidates."""
    folder, before = tmp_path_factory.mktemp("runs") / "search", dict(OWN)
    run("search", *MINE, "--space", OWN_SPACE, *SEARCH_OPTIONS, "--out", folder)
    OWN.clear()
    OWN.update(before)
    LOADED.clear()
    return folder


def test_a_run_needs_the_file_and_says_so(searched, capsys):
    for command in ("search --resume --out", "derive", "draw", "report", "retrain"):
        run(*command.split(), searched, status=1)
        error = capsys.readouterr().err
        assert f"got '{NAME}'" in error or f"operation '{NAME}'" in error
        assert "has to be registered first, by adarts_ext.nn.register_candidate or --cand" in error
    run("search", *MINE, "--resume", "--out", searched)
    assert f"adarts retrain {searched} --candidates {FILE}" in capsys.readouterr().out


def test_the_file_is_named_on_the_command_line_only(tmp_path, capsys):
    (tmp_path / "options.yaml").write_text(f"candidates: {FILE}")
    run("search", "--config", tmp_path / "options.yaml", status=2)
    assert "unknown option 'candidates'" in capsys.readouterr().err
    run("search", "--candidates", "none.py", status=2)
    assert "error: --candidates: no file none.py" in capsys.readouterr().err


def test_every_criterion_chooses_among_them(searched, tmp_path, capsys):
    history = read_json(searched / "history.json")
    assert {len(row) for row in history[0]["alphas_normal"]} == {9}
    tuning = ["--tuning-epochs", "1", "--device", "cpu"]
    for criterion, more in (
        ("magnitude", []),
        ("strength", ["--device", "cpu"]),
        ("strength-exact", ["--device", "cpu"]),
        ("perturbation", tuning),
    ):
        out = tmp_path / f"{criterion}.json"
        run("derive", *MINE, searched, "--criterion", criterion, *more, "--out", out, *NETWORK)
        genotype = Genotype.load(out)
        assert {op for op, _ in genotype.normal + genotype.reduce} <= set(OWN_SPACE.split(","))
    network = load_searched(searched).network
    assert Genotype.load(tmp_path / "magnitude.json") == network.genotype()
    decisions = next(searched.glob("derivations/perturbation*/decisions.json"))
    assert set(read_json(decisions)[0]["accuracies"]) == set(OWN_SPACE.split(","))


def test_its_network_is_trained_and_used(tmp_path):
    edges = ((NAME, 0), ("skip_connect", 1))
    load_candidates(FILE)
    Genotype(edges, (2,), edges, (2,)).save(tmp_path / "mine.json")
    trained = tmp_path / "trained"
    train = [*DATA, *CELLS, "--no-auxiliary", "--train-images", "32"]
    run("retrain", *MINE, tmp_path / "mine.json", *train, "--out", trained)
    run("evaluate", *MINE, trained, "--device", "cpu")
    run("export", *MINE, trained, "--to", "torch-export", "--out", tmp_path / "net.pt2")
    run("profile", *MINE, trained, *NETWORK, "--rounds", "1", "--batch-size", "2")
    run("draw", *MINE, tmp_path / "mine.json", "--out", tmp_path / "mine.svg")
    assert NAME in (tmp_path / "mine.svg").read_text()


def test_noise_is_not_exported(tmp_path):
    edges = (("noise", 0), ("skip_connect", 1))
    network = DerivedNetwork(Genotype(edges, (2,), edges, (2,)), init_channels=4, layers=3)
    images = InputImages((16, 16), mean=[0.5] * 3, std=[0.25] * 3)
    with pytest.raises(ValueError, match=r"^genotype: .* got noise, which draws random numbers"):
        export_network(network, images, "torch-export", tmp_path / "net.pt2")


def test_the_report_and_the_drawing_of_the_history_name_it(searched, tmp_path):
    run("report", *MINE, searched, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert NAME in page
    assert f"adarts retrain {searched} --candidates {FILE}" in page
    run("draw", *MINE, searched, "--out", tmp_path / "cells.svg")
    assert NAME in (tmp_path / "cells-history.svg").read_text()


def test_other_processes_know_the_file(tmp_path):
    load_candidates(FILE)
    seed = SeedRun(SearchConfig(space=OWN_SPACE), tmp_path, resume=False)
    text = describe_share(SEARCH, [seed])
    del OWN[NAME]
    LOADED.clear()
    assert read_share(text)[1] == [seed]
    assert LOADED == [FILE]


@pytest.mark.parametrize(
    "strategy", ["fair-darts", "drnas", "sdarts-rs", "darts-minus", "gdas", "p-darts"]
)
def test_strategies_search_with_it(strategy, data, tmp_path):
    load_candidates(FILE)
    sizes = {"drnas": {"init_channels": 24, "proportion": 6, "epochs": 2}, "p-darts": {"epochs": 3}}
    options = {"strategy": strategy, "space": f"darts,{NAME}", "selection": "first"}
    result = search(small(**options | sizes.get(strategy, {})), tmp_path / "run", dataset=data)
    assert len(result.genotype.normal) == 2
    for entry in read_json(tmp_path / "run" / "history.json"):  # also where a stage has dropped it
        assert {len(row) for row in entry["alphas_normal"]} == {9}


def test_the_auxiliary_skip_connection_adds_to_no_other():
    alphas = torch.randn(5, 10)
    added = make_strategy("darts-minus").weights(alphas) - alphas.softmax(-1)
    expected = torch.zeros(5, 10)
    expected[:, PRIMITIVES.index("skip_connect")] = 1
    torch.testing.assert_close(added, expected)


def small(**changes) -> SearchConfig:
    options = {"init_channels": 4, "layers": 3, "steps": 1, "proportion": 2, "batch_size": 8}
    options |= {"epochs": 1, "warmup_epochs": 0, "device": "cpu"}
    return SearchConfig(**options | changes)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (32, 1, 16, 16), dtype=torch.uint8, generator=generator)
    labels = torch.arange(32) % 2
    return ImageDataset("made", images, labels, images[:2], labels[:2], ("a", "b"), flip=False)


def test_noise_goes_on_to_the_same_bits_and_is_measured_alike(data, tmp_path, capsys):
    config = small(space="s4", epochs=2, hessian_every=1)
    result = search(config, tmp_path / "whole", dataset=data)
    said = "search cells run operator by operator (no kernels for candidate noise)\n"
    assert said in capsys.readouterr().err
    with interrupted_in(2, loop), pytest.raises(KeyboardInterrupt):
        search(config, tmp_path / "again", dataset=data)
    torch.manual_seed(99)
    search(config, tmp_path / "again", resume=True, dataset=data)
    assert_same_run(tmp_path / "whole", tmp_path / "again")
    history = read_json(tmp_path / "whole" / "history.json")
    assert history[1]["hessian_eigenvalue"] is not None
    assert {op for op, _ in result.genotype.normal} <= {"noise", "sep_conv_3x3"}
    network = load_searched(tmp_path / "whole", dataset=data).network
    batches = [(torch.randn(8, 1, 16, 16), torch.arange(8) % 2)]
    before = torch.get_rng_state()
    assert measure(network, batches) == measure(network, batches)
    assert torch.equal(torch.get_rng_state(), before)
    strengths = exact_strengths(network, batches)
    assert strengths.normal[:, 8].any()
    assert not strengths.normal[:, :4].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "s4", "unrolled": True}, "space: expected no noise with unrolled True"),
        (
            {"space": "s4", "strategy": "lambda-darts"},
            "space: expected no noise with strategy lambda-darts",
        ),
        ({"space": "s1", "strategy": "drnas", "steps": 4}, "space: expected darts with strategy"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message, data, tmp_path):
    with pytest.raises(ValueError, match=f"^{message}"):
        search(small(**options), tmp_path / "run", dataset=data)
    assert not (tmp_path / "run").exists()


def test_s1_needs_four_nodes(data, tmp_path):
    with pytest.raises(ValueError, match=r"^steps: expected 4 with space s1, .* got 1"):
        small(space="s1")


def test_a_budget_chooses_among_the_candidates_there_are():
    torch.manual_seed(0)
    alphas = torch.randn(2, 8), torch.randn(2, 8)
    candidates = ("sep_conv_3x3", "sep_conv_5x5")
    options = {"config": RetrainConfig(init_channels=4, layers=3), "candidates": candidates}
    options["images"] = ImageKind(3, (16, 16), 10)
    assert derive_within(*alphas, **options) == derive(*alphas, candidates=candidates)
    with pytest.raises(ValueError, match="the fewest parameters that a network of") as caught:
        derive_within(*alphas, **options, max_params=1)
    least = int(re.search(r"at least (\d+),", str(caught.value))[1])
    smallest = derive_within(*alphas, **options, max_params=least)
    assert {op for op, _ in smallest.normal + smallest.reduce} == {"sep_conv_3x3"}
    with pytest.raises(ValueError, match="expected at least"):
        derive_within(*alphas, **options, max_params=least - 1)
