"""Deriving from the checkpoint of a search: the command, what it keeps, going on, refusals."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import torch
from run_state import assert_equal_state

from adarts_ext.cli import main
from adarts_ext.data import ImageDataset
from adarts_ext.derivation import (
    Perturbation,
    derive_run,
    exact_strengths,
    operation_strengths,
    tuning_step,
)
from adarts_ext.derivation import run as run_module
from adarts_ext.derivation.cost import Cost
from adarts_ext.derivation.searched import load_searched
from adarts_ext.derivation.strength import removals
from adarts_ext.files import read_json
from adarts_ext.genotype import Genotype, derive_from_scores
from adarts_ext.nn import SearchNetwork
from adarts_ext.runs.checkpoint import RunState, load_checkpoint
from adarts_ext.search import SearchConfig, search
from adarts_ext.search.build import make_loaders, make_optimizers

TINY = {"dataset": "digits", "device": "cpu", "train_images": 48, "batch_size": 16}
TINY |= {"init_channels": 4, "layers": 3, "steps": 2, "proportion": 2}
TINY |= {"epochs": 2, "warmup_epochs": 0, "learning_rate": 0.1, "arch_learning_rate": 0.05}
FEW = TINY | {"space": "s3"}
FEW_CANDIDATES = ("none", "skip_connect", "sep_conv_3x3")
NETWORK = ["--init-channels", "4", "--layers", "3", "--image-size", "16"]
PERTURBATION = "perturbation-epoch-0002-seed-0-tuning-1"


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder of a search of two epochs on the digits, among two candidates and none."""
    folder = tmp_path_factory.mktemp("runs") / "search"
    search(SearchConfig(**FEW), folder)
    return folder


def copy(searched, folder):
    """A copy of the search, from which nothing was derived."""
    return shutil.copytree(searched, folder, ignore=shutil.ignore_patterns("derivations"))


@pytest.fixture(scope="module")
def perturbed(searched, tmp_path_factory):
    """A copy of it from which the command has derived by perturbation."""
    folder = copy(searched, tmp_path_factory.mktemp("runs") / "perturbed")
    options = ["--criterion", "perturbation", "--tuning-epochs", "1", "--device", "cpu"]
    assert main(["derive", str(folder), *options, *NETWORK]) == 0
    return folder


def test_the_command_derives_by_strength(searched, capsys):
    before = (searched / "checkpoint.pt").read_bytes()
    assert main(["derive", str(searched), "--criterion", "strength", *NETWORK]) == 0
    output = capsys.readouterr()
    assert "1 pass forward and backward over the validation half; about " in output.err
    out, work = searched / "derived-strength.json", searched / "derivations" / "strength-epoch-0002"
    assert f"genotype in {out}" in output.out
    assert {path.name for path in work.iterdir()} == {"scores.json", "genotype.json"}
    assert Genotype.load(out) == Genotype.load(work / "genotype.json")
    assert (searched / "checkpoint.pt").read_bytes() == before
    strengths = operation_strengths(load_searched(searched).network, evaluation_batches(searched))
    assert_scores(work, strengths)


def assert_scores(work, strengths):
    """The scores and the genotype that were saved are those of the strengths, to the bit."""
    expected = {"normal": strengths.normal.tolist(), "reduce": strengths.reduce.tolist()}
    assert read_json(work / "scores.json") == expected
    expected = derive_from_scores(*strengths, FEW_CANDIDATES)
    assert Genotype.load(work / "genotype.json") == expected


def test_exact_strengths_go_on_from_the_losses_that_are_known(searched, capsys, monkeypatch):
    written, write_json = 0, run_module.write_json

    def breaking(path, value):
        nonlocal written
        write_json(path, value)
        written += 1
        if written == 9:
            raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "write_json", breaking)
    command = ["derive", str(searched), "--criterion", "strength-exact", *NETWORK]
    assert main(command) == 130
    error = capsys.readouterr().err
    assert "21 passes over the validation half; about " in error
    assert "the same command goes on from what it has saved" in error
    assert main(command) == 0
    assert "12 passes over the validation half; about " in capsys.readouterr().err
    assert written == 21 + 1  # none of the losses twice, and the scores
    strengths = exact_strengths(load_searched(searched).network, evaluation_batches(searched))
    assert_scores(searched / "derivations" / "strength-exact-epoch-0002", strengths)


def evaluation_batches(folder):
    found = load_searched(folder)
    return make_loaders(found.config, found.data, found.device)[2]


def test_a_perturbation_is_the_selection_with_tuning_between_its_turns(searched, perturbed):
    found = load_searched(searched)
    network, config = found.network, SearchConfig(**FEW | {"learning_rate": 0.01})
    sgd, adam = make_optimizers(config, network.flat_parameters(), network.arch_parameters())
    adam.load_state_dict(found.checkpoint["arch_optimizer"])
    train, validation, batches = make_loaders(config, found.data, found.device)
    selection = Perturbation(network)
    while not selection.done:
        turn = selection.turn
        selection.measure_next(batches)
        if selection.turn > turn and not selection.done:
            network.train()
            for batch in train:
                tuning_step(
                    network, sgd, adam, selection.weights, batch, validation.next(), grad_clip=5.0
                )
    work = perturbed / "derivations" / PERTURBATION
    assert read_json(work / "decisions.json") == selection.decisions
    assert Genotype.load(perturbed / "derived-perturbation.json") == selection.genotype()
    state = load_checkpoint(work / "checkpoint.pt", "perturbation")
    assert_equal_state(dict(state["network"]), dict(network.state_dict()))
    assert len(state["history"]) == 5


def kill_at_the_renaming(number, folder):
    """Derive in another process, which is killed when it is about to rename a file."""
    program = (
        "import os, signal\n"
        "from adarts_ext.derivation import derive_run\n"
        "replace, come = os.replace, 0\n"
        "def killing(*names):\n"
        "    global come\n"
        "    come += 1\n"
        f"    if come == {number}:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    replace(*names)\n"
        "os.replace = killing\n"
        f"derive_run({str(folder)!r}, 'perturbation', tuning_epochs=1, device='cpu')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ended.returncode == -9, ended.stderr


def test_a_perturbation_that_is_killed_and_broken_off_goes_on_to_the_same_bits(
    searched, perturbed, tmp_path, monkeypatch
):
    folder, saves, save = copy(searched, tmp_path / "again"), 0, RunState.save
    kill_at_the_renaming(16, folder)  # about 8 of 31 saves, of two renamings each

    def breaking(state, *arguments):
        nonlocal saves
        saves += 1
        if saves % 11 == 0:
            raise KeyboardInterrupt
        save(state, *arguments)

    monkeypatch.setattr(RunState, "save", breaking)
    for _ in range(2):
        torch.manual_seed(99)
        with pytest.raises(KeyboardInterrupt):
            derive_run(folder, "perturbation", tuning_epochs=1)
    derive_run(folder, "perturbation", tuning_epochs=1)
    works = [one / "derivations" / PERTURBATION for one in (folder, perturbed)]
    assert_equal_state(*(load_checkpoint(work / "checkpoint.pt") for work in works))
    for name in ("decisions.json", "genotype.json"):
        assert read_json(works[0] / name) == read_json(works[1] / name)
    assert not list((folder / "derivations").rglob(".*.tmp"))


def test_what_was_derived_is_not_derived_again(perturbed, capsys, monkeypatch):
    monkeypatch.setattr(run_module, "begin", None)
    derive_run(perturbed, "perturbation", tuning_epochs=1)
    assert "derived already" in capsys.readouterr().err


def test_the_strategy_weighs_the_candidates_as_in_the_epoch_of_the_checkpoint(tmp_path):
    search(
        SearchConfig(**TINY | {"strategy": "darts-minus", "precision": "bf16"}), tmp_path / "run"
    )
    network = load_searched(tmp_path / "run").network
    weights = network.operation_weights().normal - network.alphas_normal.softmax(-1)
    assert torch.allclose(weights[:, 3], torch.tensor(0.5))  # beta of the second of two epochs
    images = torch.zeros(2, 1, 16, 16)
    assert network(images).dtype == torch.float32
    derive_run(tmp_path / "run", "strength")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "gdas"}, "got strategy gdas, which draws other weights in each"),
        ({"selection": "random"}, "got selection random, which draws other channels in each"),
        ({"strategy": "mine.py:Mine"}, "got mine.py:Mine, a program, which is not run here"),
    ],
)
def test_a_search_whose_passes_cannot_be_compared_is_refused(changes, message, tmp_path):
    SearchConfig(**TINY | changes).save(tmp_path)
    with pytest.raises(ValueError, match=message):
        derive_run(tmp_path, "strength")


@pytest.mark.parametrize("strategy", ["darts-minus", "fair-darts", "oles", "sdarts-rs"])
def test_what_a_strategy_keeps_is_found_again(strategy, tmp_path):
    options = TINY | {"epochs": 1, "steps": 1, "strategy": strategy}
    search(SearchConfig(**options), tmp_path)
    loaded = load_searched(tmp_path, "cpu")
    assert all(cell.flat is None for cell in loaded.network.cells)
    for criterion in ("strength", "perturbation"):
        derive_run(tmp_path, criterion, tuning_epochs=1, device="cpu")
    expected = load_checkpoint(tmp_path / "checkpoint.pt")["network"]
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, expected[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--criterion", "largest"], "--criterion: expected one of magnitude, strength, "),
        (["--seed", "1"], "--seed: has no effect with criterion magnitude, only with perturb"),
        (["--criterion", "strength", "--max-params", "3M"], "--max-params: has no effect with "),
        (["--criterion", "perturbation", "--epoch", "1"], "--epoch: has no effect with "),
        (["--device", "cpu"], "--device: has no effect with criterion magnitude, only with stre"),
    ],
)
def test_options_without_an_effect_are_refused(options, message, searched, capsys):
    assert main(["derive", str(searched), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"adarts derive: error: {message}")
    assert error.count("\n") == 1


def test_numbers_out_of_their_range_and_other_data_are_refused(searched):
    with pytest.raises(ValueError, match="tuning_epochs: expected at least 0, got -1"):
        derive_run(searched, "perturbation", tuning_epochs=-1)
    found = load_searched(searched).data
    other = ImageDataset(
        found.name,
        found.train_images.flip(0),
        found.train_labels.flip(0),
        found.test_images,
        found.test_labels,
        found.class_names,
        flip=found.flip,
    )
    with pytest.raises(ValueError, match="the run was begun with other data"):
        derive_run(searched, "strength", dataset=other)


def test_two_derivations_do_not_work_in_one_place(searched, tmp_path):
    folder = copy(searched, tmp_path / "run")
    work = folder / "derivations" / "strength-epoch-0002"
    work.mkdir(parents=True)
    with run_module.sole_run(work), pytest.raises(ValueError, match="another run is at work"):
        derive_run(folder, "strength")


def test_two_cells_of_four_nodes_take_as_many_passes_as_the_docs_say():
    network = SearchNetwork(4, layers=3)
    assert 1 + len(removals(network)) == 197
    selection = Perturbation(network)
    assert (selection.passes_left(), 5 * (selection.turns - 1)) == (240, 80)


def test_the_cost_is_told_with_the_times_of_the_search():
    time = {"data": 1.0, "architecture step": 20.0, "weight step": 30.0, "evaluation": 10.0}
    cost = Cost(evaluations=76, epochs=25)
    assert cost.seconds([{"time": time}]) == 76 * 10 + 25 * 51
    assert cost.describe([{"time": time}]) == (
        "76 passes over the validation half and 25 epochs of tuning; about 33 min, by the times of "
        "the search"
    )
    warm_up = {"time": time | {"architecture step": 0.0}}
    assert Cost(gradients=1).seconds([warm_up]) == 30
    assert Cost().describe([]) == "nothing left to compute"
