"""How the commands are called: help, options, option files and wrong usage."""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import sys
from dataclasses import fields

import pytest
import torch
from conftest import run_program

import adarts_ext
from adarts_ext import _library, info
from adarts_ext.cli import COMMANDS, FIRST_STEPS, main
from adarts_ext.cli.options import argument_help
from adarts_ext.data import DATASETS
from adarts_ext.genotype import ADARTS_V2
from adarts_ext.nn.selection import SELECTIONS
from adarts_ext.retrain import RetrainConfig
from adarts_ext.search import PRESETS, SearchConfig

pytestmark = pytest.mark.slow


def usage_error(arguments, capsys):
    """Run a wrong command line; give its one line of complaint."""
    capsys.readouterr()
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err


def test_help_lists_the_commands_and_needs_no_extra_and_a_missing_one_is_named():
    """In one process of its own; the name comes with the command that installs the package."""
    code = """
import sys
from adarts_ext.cli import main
assert main(["--help"]) == 0
extras = {"jsonargparse", "matplotlib", "tensorboard", "torchvision"}
assert not extras & set(sys.modules), extras & set(sys.modules)
sys.modules["matplotlib"] = None
sys.exit(main(["draw", "ADARTS_V1"]))
"""
    done = run_program(code)
    for command in ("search", "retrain", "evaluate", "draw", "info"):
        assert f"  {command}" in done.stdout
    assert done.stderr == (
        "adarts draw: error: matplotlib is not installed; install it by: pip install matplotlib\n"
    )
    assert done.returncode == 1


def test_python_m_is_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["adarts_ext", "nonsense"])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_module("adarts_ext", run_name="__main__", alter_sys=True)
    error = capsys.readouterr().err
    assert error.startswith("adarts: error: argument COMMAND: invalid choice: 'nonsense'")


def test_no_arguments_give_the_help(capsys):
    assert main([]) == 0
    assert "usage: adarts [-h] [--version] COMMAND" in capsys.readouterr().out


def test_info_and_version_say_what_is_installed(capsys):
    assert main(["info"]) == 0
    findings = capsys.readouterr().out
    assert torch.__version__ in findings
    assert re.search(r"fused cell .*float32, float64 and bfloat16; 1 to 64 selected", findings)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"adarts {adarts_ext.__version__}\n"
    assert "unrecognized arguments: more" in usage_error(["info", "more"], capsys)


@pytest.mark.parametrize(
    ("there", "advice"), [(False, "not needed here, torch finds no CUDA"), (True, "build it with")]
)
def test_info_asks_for_the_cuda_library_only_where_there_is_a_device(there, advice, monkeypatch):
    monkeypatch.setattr(_library, "cuda_error", "_cuda.so was not built")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert advice in dict(info.rows())["CUDA library"]


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"info"}))
def test_every_command_explains_its_options(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: adarts {command} ")
    for config, of in ((SearchConfig, "search"), (RetrainConfig, "retrain")):
        if command == of:
            for name, explanation in argument_help(config).items():
                if name != "seed" or command == "search":
                    assert f"--{name.replace('_', '-')}" in text
                    assert explanation.split()[0] in text


def actions_of(command, monkeypatch):
    """Ask a command for its help; give its options, not the text."""
    caught = []
    with monkeypatch.context() as patch:
        patch.setattr(
            argparse.ArgumentParser,
            "print_help",
            lambda self, file=None: caught.extend(self._actions),
        )
        assert main([command, "--help"]) == 0
    assert caught
    return caught


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_an_option_that_takes_one_of_a_few_values_shows_them(command, capsys, monkeypatch):
    """Whether the parser knows them or only the check of the options does."""
    main([command, "--help"])
    text = capsys.readouterr().out
    for action in actions_of(command, monkeypatch):
        assert action.help, action.dest
        shown = text.partition(f"  {(action.option_strings or [action.metavar])[-1]}")[2]
        choices = list(action.choices or ())
        for config in (SearchConfig, RetrainConfig):
            if command == config.kind:
                choices += known_values(config, action.dest)
        for choice in choices:
            assert choice in shown[:400], (action.dest, choice)


def known_values(config, name):
    """The values that an option's check says it expects, where it expects one of a few."""
    try:
        config(**{name: "?"})
    except (TypeError, ValueError) as error:  # no option of the run, or one of any other kind
        found = re.search(r"expected one of (.*), got", str(error))
        return found[1].split(", ") if found else []
    return []


def test_the_values_of_a_few_are_found_where_they_are_checked():
    assert known_values(SearchConfig, "selection") == list(SELECTIONS)
    assert known_values(RetrainConfig, "dataset") == list(DATASETS)
    assert known_values(SearchConfig, "epochs") == known_values(SearchConfig, "resume") == []


def test_the_first_steps_of_the_help_are_commands_that_run(taken, monkeypatch, tmp_path):
    steps = [shlex.split(line) for line in FIRST_STEPS.splitlines() if line.startswith("  adarts")]
    assert [step[1] for step in steps] == ["search", "draw", "retrain"]
    assert main(steps[0][1:]) == 1  # the fixture's error
    config, folder, *_ = taken["search"]
    assert config.epochs > config.warmup_epochs > 0
    write_search(tmp_path / folder)
    assert main(steps[1][1:]) == 0
    assert main(steps[2][1:]) == 1
    assert taken["retrain"][0] == ADARTS_V2


def write_search(folder):
    """Write as much of a search's folder as the commands that follow it need."""
    folder.mkdir(parents=True)
    SearchConfig().save(folder)
    ADARTS_V2.save(folder / "genotype.json")


@pytest.mark.parametrize("config", [SearchConfig, RetrainConfig])
def test_every_option_has_a_help_text(config):
    assert argument_help(config).keys() == {field.name for field in fields(config)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["search", "--epochs", "many"],
            "search: error: --epochs: expected a whole number, got many",
        ),
        (["search", "--epochs", "2.5"], "--epochs: expected a whole number, got 2.5"),
        (["search", "--image-size", "big"], "--image-size: expected a whole number, got big"),
        (["search", "--learning-rate", "x"], "--learning-rate: expected a number, got x"),
        (["search", "--layers", "2"], "--layers: expected at least 3, got 2"),
        (["search", "--selection", "best"], "--selection: expected one of attention, first"),
        (["search", "--epochs", "10"], "--warmup-epochs: expected less than the 10 epochs"),
        (
            ["search", "--preset", "nas"],
            "--preset: expected one of adarts, pc-darts, darts, early-stop,",
        ),
        (["search", "--epohcs", "3"], "recognized arguments: --epohcs 3; did you mean --epochs?"),
        (["search", "--epochs"], "argument --epochs: expected one argument"),
        (["search", "--config", "none.yaml"], "--config: none.yaml: No such file or directory"),
        (["search", "--config"], "argument --config: expected one argument"),
        (["search", "--resume"], "--resume needs the folder of the run: --out RUN"),
        (
            ["retrain", "ADARTS_V1", "--recipe", "best"],
            "--recipe: expected one of published, darts, imagenet, got 'best'",
        ),
        (["search", "--precision", "half"], "--precision: expected one of fp32, bf16, got 'half'"),
        (["retrain"], "expected the genotype to train: GENOTYPE|RUN"),
        (
            ["retrain", "ADARTS_V1", "--seeds", "1,b"],
            "--seeds: expected whole numbers set apart by",
        ),
        (["retrain", "ADARTS_V1", "--seed", "1"], "recognized arguments: --seed 1"),
        (["retrain", "ADARTS_V1", "--cutout", "-1"], "--cutout: expected at least 0, got -1"),
        (["search", "--image-size", "18"], "--image-size: expected a multiple of 4, at least 16"),
        (["search", "--proportion", "3"], "--proportion: expected a divisor of --init-channels 16"),
        (["search", "--out", ""], "--out: expected a folder, got ''"),
        (["search", "--data-dir", ""], "--data-dir: expected a folder, got ''"),
        (["retrain", "ADARTS_V1", "--batch-size", "1"], "--batch-size: expected at least 2 with"),
        (["evaluate"], "expected RUN, got nothing"),
        (["draw", "ADARTS_V1", "more"], "recognized arguments: more"),
        (
            ["draw", "ADARTS_V1", "--format", "darts", "--out", "a.svg"],
            "--format prints and draws nothing, got --out a.svg too",
        ),
        (
            ["search", "--selection", "all", "--proportion", "4"],
            "proportion: expected none, as selection all takes all channels, got 4",
        ),
        (
            ["search", "--dataset", "digits", "--data-dir", "photos"],
            "--data-dir: expected none, as the digits come with scikit-learn, got photos",
        ),
        (
            ["retrain", "ADARTS_V1", "--data-dir", "photos"],
            "--data-dir: expected none, as the digits come",
        ),
        (
            ["search", "--download"],
            "download: expected no, as digits is not fetched from anywhere, got yes",
        ),
        (
            ["search", "--dataset", "folder", "--data-dir", ".", "--download"],
            "download: expected no, as folder is not fetched from anywhere, got yes",
        ),
        (
            ["search", "--dataset", "cifar10", "--image-size", "16"],
            "cifar10: its images are 32 pixels wide, got --image-size 16",
        ),
        (["search", "--preset", "darts", "--proportion", "2"], "proportion: expected none, as"),
        (
            ["retrain", "ADARTS_V1", "--no-auxiliary", "--auxiliary-weight", "0.4"],
            "--auxiliary-weight: expected none, as the network has no auxiliary head",
        ),
        (["retrain", "ADARTS_V1", "--no-augment", "--cutout", "4"], "cutout: expected none, as"),
    ],
)
def test_wrong_usage_is_one_clear_line_and_status_2(arguments, message, capsys, taken):
    assert message in usage_error(arguments, capsys)
    assert taken == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "--selection", "all"],
        ["search", "--selection", "all", "--proportion", "1"],
        ["retrain", "ADARTS_V1", "--no-auxiliary", "--auxiliary-weight", "0"],
        ["retrain", "ADARTS_V1", "--no-augment"],
        ["retrain", "ADARTS_V1", "--no-augment", "--cutout", "0"],
        ["search", "--dataset", "digits", "--no-download"],
    ],
)
def test_options_that_say_what_is_done_are_taken(arguments, taken):
    assert main(arguments) == 1  # the fixture's error
    assert taken.keys() == {arguments[0]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("selection: all\nproportion: 8", "proportion: expected none, as selection all takes all"),
        ("epochs: [3", "damaged, or not YAML: while parsing"),
        ("epohcs: 3", "unknown option 'epohcs'; did you mean epochs?"),
        ("epochs: many", "epochs: expected a whole number, got 'many'"),
        ("epochs:", "epochs: expected a whole number, got None"),
        ("epochs: 0", "epochs: expected at least 1, got 0"),
        ("learning_rate: x", "learning_rate: expected a number, got 'x'"),
        ("data_dir: [a, b]", "data_dir: expected a text, got ['a', 'b']"),
        ("unrolled: 3", "unrolled: expected true or false, got 3"),
        ("preset: nas", "preset: expected one of adarts, pc-darts, darts, early-stop,"),
        ("- 3", "expected options, each a line 'name: value', got [3]"),
        ("", "expected options, each a line 'name: value', got None"),
        ("\0", "damaged, or not YAML"),
        ("genotype: ADARTS_V1", "unknown option 'genotype'"),
        ('dataset: !!python/object/apply:os.mkdir ["made"]', "could not determine a constructor"),
        ("dataset: {class_path: os.mkdir, init_args: {path: made}}", "dataset: expected a text"),
    ],
)
def test_a_bad_option_file_is_one_clear_line_and_runs_nothing(
    content, message, capsys, taken, tmp_path
):
    (tmp_path / "options.yaml").write_text(content)
    line = usage_error(["search", "--config", "options.yaml"], capsys)
    assert line.startswith("adarts search: error: options.yaml: ")
    assert message in line
    assert taken == {}
    assert not (tmp_path / "made").exists()


def options_of(arguments, caught):
    assert main(arguments) == 1
    return caught["search"][0]


def test_an_option_beats_the_file_and_the_file_beats_the_preset(taken, tmp_path):
    (tmp_path / "options.yaml").write_text(
        "preset: darts\nepochs: 20\nlearning_rate: 1e-2\nunrolled: true\naugment: false\n"
    )
    assert options_of(["search"], taken) == PRESETS["adarts"]
    assert options_of(["search", "--preset", "pc-darts"], taken) == PRESETS["pc-darts"]
    for order in (
        ["--config", "options.yaml", "--epochs", "9"],
        ["--epochs=9", "--config=options.yaml"],
    ):
        config = options_of(["search", *order, "--no-unrolled"], taken)
        assert config.epochs == 9
        assert config.learning_rate == 0.01
        assert config.unrolled is False
        assert config.augment is False
        assert config.arch_learning_rate == PRESETS["darts"].arch_learning_rate
    config = options_of(["search", "--preset", "pc-darts", "--config", "options.yaml"], taken)
    assert config.batch_size == 256
    assert config.learning_rate_min == 0.0


def test_an_option_at_its_default_value_still_beats_the_preset(taken):
    default = SearchConfig().batch_size
    config = options_of(["search", "--preset", "pc-darts", "--batch-size", str(default)], taken)
    assert config.batch_size == default


def test_a_run_that_is_not_named_gets_a_folder_of_its_own(taken):
    options_of(["search", "--dataset", "cifar10", "--download"], taken)
    folder = taken["search"][1]
    assert folder.parts[0] == "runs"
    assert folder.name.startswith("search-cifar10-2")
