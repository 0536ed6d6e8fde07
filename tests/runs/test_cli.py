"""What the commands do: search, retrain, evaluate and draw, and how they fail."""

from __future__ import annotations

import json
import re
import shlex
import signal
import warnings
from xml.etree import ElementTree

import pytest
import torch
from image_folder import write_images
from run_state import interrupted_in, signal_when

from adarts_ext.cli import main
from adarts_ext.cli.numbers import describe_cost, short_number
from adarts_ext.files import read_json, write_json
from adarts_ext.genotype import ADARTS_V2, Genotype, random_genotype, state_name
from adarts_ext.retrain import RetrainConfig
from adarts_ext.retrain import loop as retrain_loop
from adarts_ext.search import loop

pytestmark = pytest.mark.slow

SMALL_SEARCH = [
    *("--dataset", "folder", "--device", "cpu", "--steps", "2"),
    *("--init-channels", "4", "--layers", "3", "--proportion", "2", "--batch-size", "8"),
    *("--warmup-epochs", "0", "--learning-rate", "0.1"),
]
SMALL_RETRAIN = [
    *("--device", "cpu", "--init-channels", "4", "--layers", "3", "--batch-size", "8"),
    *("--epochs", "1"),
]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """An image folder of 32 + 8 small grey images in two classes: dark and light noise."""
    return write_images(tmp_path_factory.mktemp("images"), 16, 4)


@pytest.fixture(scope="module")
def searched(images, tmp_path_factory):
    """The folder of a finished search of two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "a search"
    arguments = [*SMALL_SEARCH, "--data-dir", str(images), "--epochs", "2", "--out", str(folder)]
    assert main(["search", *arguments]) == 0
    return folder


def failure(arguments, capsys):
    """Run a command that fails; give its one line of complaint."""
    capsys.readouterr()
    assert main(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    complaints = [line for line in lines if not line.startswith("run folder: ")]
    assert len(complaints) == 1
    return complaints[0]


def test_search_says_what_it_found_and_what_comes_next(images, tmp_path, capfd):
    folder = tmp_path / "a run"
    arguments = [*SMALL_SEARCH, "--data-dir", str(images), "--epochs", "1", "--out", str(folder)]
    assert main(["search", *arguments]) == 0
    output = capfd.readouterr()
    genotype = Genotype.load(folder / "genotype.json")
    for cell in (genotype.normal, genotype.reduce):
        for node in (2, 3):
            pairs = cell[2 * node - 4 : 2 * node - 2]
            edges = ", ".join(f"{op} from {state_name(source)}" for op, source in pairs)
            assert f"  node {node}: {edges}\n" in output.out
    accuracy = read_json(folder / "result.json")["validation_accuracy"]
    assert f"validation accuracy of the supernet {accuracy:.4f}" in output.out
    assert f"adarts retrain {shlex.quote(str(folder))}" in output.out
    time = r"^time: data .* weight step .* s \(\d+ %\), .*; \d+ images a second; peak memory .* GB$"
    assert re.search(time, output.out, re.MULTILINE)
    assert re.search(r"^seed 0, epoch 1/1: .* s, 0 s left$", output.err, re.MULTILINE)


def test_search_then_retrain_then_evaluate_then_draw(searched, tmp_path, capsys):
    out = tmp_path / "retrained"
    assert main(["retrain", str(searched), *SMALL_RETRAIN, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    result = read_json(out / "result.json")
    assert f"test accuracy, last epoch: {result['test_accuracy_last']:.4f}" in text
    assert f"test accuracy, best epoch: {result['test_accuracy_best']:.4f} (epoch 1)" in text
    cost = describe_cost(result["parameters"], result["macs"], result["flops"])
    assert cost in text
    genotype = Genotype.load(searched / "genotype.json")
    assert Genotype.load(out / "genotype.json") == genotype
    assert read_json(out / "config.json")["dataset"] == "folder"  # that of the search

    assert main(["evaluate", str(out), "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    assert f"test accuracy {result['test_accuracy_last']:.4f}" in text
    assert "8 images" in text
    assert cost in text

    assert main(["draw", str(searched)]) == 0
    assert main(["draw", str(out), "--out", str(tmp_path / "cells.png")]) == 0
    for name in ("cells.svg", "history.svg"):
        ElementTree.parse(searched / name)
    assert (tmp_path / "cells.png").read_bytes().startswith(b"\x89PNG")


def test_a_count_keeps_four_digits_from_a_thousand_to_a_hundred_million():
    scale = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    for exponent in range(3, 13):
        for digits in (10001, 12345, 49999, 99994, 99996):
            value = digits * 10**exponent // 10**4
            number, prefix = short_number(value).split()
            assert len(number.replace(".", "")) == 4
            assert 1 <= float(number) < 1000
            assert float(number) * scale[prefix] == pytest.approx(value, rel=5.1e-4)
    assert [short_number(value) for value in (0, 7, 999, 1000)] == ["0", "7", "999", "1.000 k"]


def test_retrain_from_several_seeds_gives_mean_and_deviation(images, tmp_path, capsys):
    out = tmp_path / "seeds"
    arguments = [*SMALL_RETRAIN, "--dataset", "folder", "--data-dir", str(images)]
    assert main(["retrain", "random:3", "--seeds", "4,5", *arguments, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    result = read_json(out / "result.json")
    mean, deviation = result["test_accuracy_last_mean"], result["test_accuracy_last_std"]
    assert f"test accuracy, last epoch: {mean:.4f} +- {deviation:.4f}" in text
    assert "over the seeds 4, 5" in text
    assert Genotype.load(out / "seed-5" / "genotype.json") == random_genotype(3)
    assert main(["evaluate", str(out / "seed-4"), "--device", "cpu"]) == 0


def test_retrain_goes_on_with_all_seeds_of_its_folder(images, tmp_path, capfd, monkeypatch):
    out = tmp_path / "seeds"
    arguments = [*SMALL_RETRAIN, "--dataset", "folder", "--data-dir", str(images)]
    whole_epoch = retrain_loop.train_epoch

    def breaking_epoch(state, config, *rest):
        if config.seed == 5:
            raise KeyboardInterrupt
        return whole_epoch(state, config, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(retrain_loop, "train_epoch", breaking_epoch)
        started = ["retrain", "random:3", "--seeds", "4,5,6", *arguments, "--out", str(out)]
        assert main(started) == 130
    assert main(["retrain", "--resume", "--out", str(out)]) == 0
    assert read_json(out / "result.json")["seeds"] == [4, 5, 6]
    assert "has ended already" not in capfd.readouterr().err
    assert main(["retrain", "--resume", "--out", str(out)]) == 0
    output = capfd.readouterr()
    assert f"{out}: the run has ended already; this is its result" in output.err
    assert "over the seeds 4, 5, 6" in output.out
    assert main(["retrain", "--resume", "--out", str(out), "--seeds", "4,5,6,7"]) == 0
    output = capfd.readouterr()
    assert "has ended already" not in output.err
    assert "over the seeds 4, 5, 6, 7" in output.out


def test_retrain_takes_the_data_of_the_search_unless_told_otherwise(
    searched, images, taken, monkeypatch, tmp_path
):
    assert main(["retrain", str(searched)]) == 1
    genotype, config, folder, seeds, resume = taken["retrain"]
    assert genotype == Genotype.load(searched / "genotype.json")
    assert (config.dataset, config.data_dir) == ("folder", str(images))
    assert config.epochs == RetrainConfig().epochs
    assert (seeds, resume) == ([0], False)
    assert folder.name.startswith("retrain-folder-2")
    assert main(["retrain", str(searched), "--dataset", "digits", "--seeds", "0,1,2"]) == 1
    config = taken["retrain"][1]
    assert (config.dataset, config.data_dir, config.image_size) == ("digits", None, None)
    elsewhere = ["--dataset", "folder", "--data-dir", "elsewhere"]
    assert main(["retrain", str(searched), *elsewhere]) == 1
    assert taken["retrain"][1].data_dir == "elsewhere"
    assert main(["retrain", str(searched), "--dataset", "digits", "--seeds", "0,1,2"]) == 1
    assert taken["retrain"][3] == [0, 1, 2]
    assert main(["retrain", str(searched), "--recipe", "darts", "--epochs", "9"]) == 1
    config = taken["retrain"][1]
    assert (config.data_dir, config.drop_path_prob, config.epochs) == (str(images), 0.2, 9)
    path = searched / "genotypes" / "epoch-0001.json"
    assert main(["retrain", str(path)]) == 1
    assert taken["retrain"][0] == Genotype.load(path)
    assert main(["retrain", "ADARTS_V2"]) == 1
    assert taken["retrain"][:2] == (ADARTS_V2, RetrainConfig())
    options = read_json(searched / "config.json") | {"space": "s2"}
    other = searched.parent / "s2: another"
    other.mkdir()
    write_json(other / "config.json", options)
    assert main(["retrain", f"random:3:{other}"]) == 1
    genotype, config, *_ = taken["retrain"]
    assert genotype == random_genotype(3, options["steps"], ["skip_connect", "sep_conv_3x3"])
    assert (config.dataset, config.data_dir) == ("folder", str(images))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "3").mkdir()  # a folder that is called as the seed is not the run that is meant
    write_json("3/config.json", options)
    assert main(["retrain", "random:3"]) == 1
    assert taken["retrain"][1] == RetrainConfig()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["draw", "ADARTS_V9"], "adarts draw: error: ADARTS_V9: neither a file nor a folder"),
        (
            ["draw", "ADARTS_V1", "--out", "cells.jpg"],
            "to end in .svg, .png or .pdf, got cells.jpg",
        ),
        (["draw", "ADARTS_V1", "--out", "none/cells.svg"], "No such file or directory"),
        (["draw", "random:x"], "a whole number, after random:, got 'x'"),
        (["draw", "random:x:begun"], "a whole number, after random:, got 'x'"),
        (["draw", "random:3:empty"], "empty: not the folder of a run, it holds no config.json"),
        (["draw", "random:3:"], ".: not the folder of a run"),
        (["draw", "empty"], "empty: not the folder of a run, it holds no config.json"),
        (["draw", "damaged.json"], "damaged.json: genotype: not JSON"),
        (["retrain", "begun"], "begun: the search has not ended"),
        (["evaluate", "begun"], "begun: expected the run of a retrain, got one of a search"),
        (["evaluate", "empty"], "empty: not the folder of a run"),
        (["search", "--resume", "--out", "empty"], "empty: not the folder of a run"),
        (["search", "--dataset", "folder"], "--data-dir must name the folder"),
        (["search", "--device", "tpu"], "--device: expected auto, cpu, cuda or cuda:<number>"),
    ],
)
def test_what_fails_is_one_clear_line_and_status_1(
    arguments, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.json").write_text(json.dumps({"kind": "search"}))
    (tmp_path / "damaged.json").write_text("{")
    assert message in failure(arguments, capsys)


def test_evaluate_refuses_what_the_data_set_has_no_use_for(capsys, tmp_path):
    out = tmp_path / "run"
    few_steps = [*SMALL_RETRAIN, "--train-images", "16"]
    assert main(["retrain", "ADARTS_V1", *few_steps, "--out", str(out)]) == 0
    refused = [
        (["--data-dir", "photos"], "--data-dir: expected none, as the digits come with scikit"),
        (["--download"], "download: expected no"),
    ]
    for option, message in refused:
        assert message in failure(["evaluate", str(out), "--device", "cpu", *option], capsys)


def test_a_bug_keeps_its_traceback(monkeypatch, tmp_path):
    from adarts_ext.cli import draw

    def broken(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(draw, "draw_genotype", broken)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["draw", "ADARTS_V1"])


def test_an_interrupted_search_goes_on_by_the_command_it_names(images, searched, tmp_path, capfd):
    folder = tmp_path / "an interrupted run"
    arguments = [*SMALL_SEARCH, "--data-dir", str(images), "--epochs", "2", "--out", str(folder)]
    with interrupted_in(2, loop):
        assert main(["search", *arguments]) == 130
    message = capfd.readouterr().err
    command = message.partition("go on from its last checkpoint by: ")[2].splitlines()[0]
    assert main(["draw", str(folder)]) == 0  # of the epoch that is done
    name, *again = shlex.split(command)
    assert name == "adarts"
    assert main(again) == 0
    # The same search without a break.
    assert Genotype.load(folder / "genotype.json") == Genotype.load(searched / "genotype.json")
    assert main(["search", "--out", str(folder), "--resume"]) == 0  # the options are the run's
    capfd.readouterr()
    assert main(["search", "--out", str(folder), "--resume", "--epochs", "3"]) == 1
    assert "begun with --epochs 2, cannot go on with 3" in capfd.readouterr().err


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_save_and_say_in_one_line_how_to_go_on(
    images, tmp_path, sent, status, capfd
):
    folder = tmp_path / "run"
    arguments = [*SMALL_SEARCH, "--data-dir", str(images), "--epochs", "10000"]
    signal_when(folder / "checkpoint.pt", sent)
    assert main(["search", *arguments, "--out", str(folder)]) == status
    lines = capfd.readouterr().err.splitlines()
    (line,) = [line for line in lines[2:] if not line.startswith("seed 0, epoch ")]
    assert line.startswith(f"{folder}: go on from its last checkpoint by: adarts search")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 1 TiB for an array"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_out_of_memory_is_one_line_that_says_what_helps(error, monkeypatch, capsys):
    from adarts_ext.cli import search

    def fail(arguments):
        raise error

    monkeypatch.setattr(search, "run", fail)
    assert main(["search"]) == 1
    line = capsys.readouterr().err
    assert line.startswith(f"adarts search: error: out of memory: {error}")
    for option in ("--batch-size", "--memory recompute", "--image-size"):
        assert option in line
    assert line.count("\n") == 1


def test_a_warning_is_one_line(monkeypatch, capsys):
    from adarts_ext.cli import search

    def warn(arguments):
        warnings.warn("two files\nare skipped", stacklevel=1)

    monkeypatch.setattr(search, "run", warn)
    assert main(["search"]) == 0
    assert capsys.readouterr().err == "adarts: warning: two files are skipped\n"


def test_other_runtime_errors_are_not_hidden(monkeypatch):
    from adarts_ext.cli import search

    def fail(arguments):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(search, "run", fail)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        main(["search"])
