"""What cannot work is refused in the words of the command line, before anything is written."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import get_type_hints

import pytest
from image_folder import write_images
from PIL import Image

from adarts_ext.arguments import as_option
from adarts_ext.cli import main
from adarts_ext.genotype import ADARTS_V1
from adarts_ext.retrain import RetrainConfig
from adarts_ext.search import SearchConfig

COMMANDS = {"search": ["search"], "retrain": ["retrain", "random:0"]}
CONFIGS = {"search": SearchConfig, "retrain": RetrainConfig}
OPTIONS = [
    (command, field.name, get_type_hints(config)[field.name])
    for command, config in CONFIGS.items()
    for field in fields(config)
    if (command, field.name) != ("retrain", "seed")
]


def complaint(arguments, status, capsys) -> str:
    """Run a command that fails; give its one line of complaint."""
    capsys.readouterr()
    assert main(arguments) == status
    lines = capsys.readouterr().err.splitlines()
    (line,) = [line for line in lines if not line.startswith("run folder: ")]
    return line.removeprefix(f"adarts {arguments[0]}: error: ")


def one_class(folder):
    for part in ("train", "test"):
        for path in (folder / part / "light").iterdir():
            path.unlink()
        (folder / part / "light").rmdir()
    return f"{folder}: expected at least two classes, got one, 'dark'; --data-dir must name"


def empty_class(part):
    def empty(folder):
        for path in (folder / part / "light").iterdir():
            path.unlink()
        return f"{folder / part / 'light'}: no image in this folder; --data-dir must name"

    return empty


def of_size(width, height):
    def resize(folder):
        for path in folder.glob("*/*/*.png"):
            Image.new("L", (width, height)).save(path)
        return (
            f"{folder}: height and width of the images must be multiples of 4 and at least 16, got "
            f"{height}x{width}; --image-size gives them another size"
        )

    return resize


def no_folder(folder):
    folder.rename(folder.with_name("elsewhere"))
    return f"{folder / 'train'}: no such folder; --data-dir must name"


FAULTS = {
    "one class": one_class,
    "empty training class": empty_class("train"),
    "empty test class": empty_class("test"),
    "odd size": of_size(18, 16),
    "too small": of_size(16, 12),
    "no folder": no_folder,
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_images_that_cannot_be_learned_from(command, fault, tmp_path, capsys):
    images, out = write_images(tmp_path / "images", 16, 4), tmp_path / "out" / "run"
    expected = FAULTS[fault](images)
    arguments = ["--dataset", "folder", "--data-dir", str(images), "--out", str(out)]
    arguments += ["--device", "cpu", "--batch-size", "8"]
    assert complaint([*COMMANDS[command], *arguments], 1, capsys).startswith(expected)
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("command", "options", "expected"),
    [
        (
            "search",
            ["--batch-size", "9"],
            r"--batch-size: .* half holds, 8 and 8 \(--train-portion 0.5 of the 16 .*\), got 9",
        ),
        (
            "search",
            ["--batch-size", "4", "--train-portion", "0.9"],
            r"--batch-size: .* half holds, 14 and 2 \(--train-portion 0.9 of the 16 .*\), got 4",
        ),
        (
            "search",
            ["--batch-size", "4", "--train-portion", "0.001"],
            r"--batch-size: .* half holds, 0 and 16 \(--train-portion 0.001 .*\), got 4",
        ),
        ("retrain", ["--batch-size", "17"], "--batch-size: .* 16 training images of .*, got 17"),
        (
            "retrain",
            ["--batch-size", "17", "--seeds", "0,1"],
            "--batch-size: .* 16 training images of .*, got 17",
        ),
        ("retrain", ["--batch-size", "8", "--cutout", "17"], "--cutout: .* side, 16, got 17"),
        ("retrain", ["--seeds", "0,0"], r"--seeds: expected different numbers, got \[0, 0\]"),
        ("retrain", ["--seeds", f"{2**63}"], "--seeds: expected at least 0 and at most"),
        ("search", ["--device", "tpu"], "--device: expected auto, cpu, cuda"),
    ],
)
def test_options_that_do_not_fit_the_data(command, options, expected, tmp_path, capsys):
    images, out = write_images(tmp_path / "images", 8, 2), tmp_path / "out" / "run"
    arguments = ["--dataset", "folder", "--data-dir", str(images), "--out", str(out)]
    arguments += ["--device", "cpu", *options]
    line = complaint([*COMMANDS[command], *arguments], 1, capsys)
    assert re.match(expected, line)
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--rounds", "0"),
        ("--threads", "0"),
        ("--batches", "0"),
        ("--init-channels", "0"),
        ("--layers", "2"),
        ("--image-size", "18"),
        ("--image-size", "12"),
        ("--compile-seconds", "-1"),
        ("--memory-limit", "0"),
    ],
)
def test_options_of_the_benchmarks(option, value, tmp_path, capsys):
    parts = ["--fit"] if option == "--memory-limit" else []
    arguments = ["bench", *parts, "--out", str(tmp_path / "out"), option, value]
    line = complaint(arguments, 1, capsys)
    assert line.startswith(f"{option}: expected ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_folder_in_use_is_refused_in_the_words_of_the_command(resume, tmp_path, capsys):
    SearchConfig().save(tmp_path)
    if not resume:
        (tmp_path / "result.json").write_text("{}")
    line = complaint(["search", "--out", str(tmp_path), *resume], 1, capsys)
    other = "start the run without --resume" if resume else "go on with it by --resume, or"
    assert other in line


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_file_in_the_place_of_the_folder(place, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    line = complaint(["search", "--out", str(tmp_path / place)], 1, capsys)
    assert line == f"{tmp_path / 'file'}: expected a folder, got a file"


@pytest.mark.parametrize(("command", "name", "kind"), OPTIONS)
def test_every_option_is_named_as_it_was_given(command, name, kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for value in {bool: ["maybe"], str: ["[1]"], str | None: ["[1]", "''"]}.get(kind, ["x", "-1"]):
        (tmp_path / "options.yaml").write_text(f"{name}: {value}")
        line = complaint([*COMMANDS[command], "--config", "options.yaml"], 2, capsys)
        assert line.startswith(f"options.yaml: {name}: expected ")
        if kind in (int, float, int | None):
            line = complaint([*COMMANDS[command], f"{as_option(name)}={value}"], 2, capsys)
            assert line.startswith(f"{as_option(name)}: expected ")


def test_an_option_that_beats_the_file_is_named_as_an_option(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "options.yaml").write_text("layers: 5\nproportion: 5\n")
    arguments = ["search", "--config", "options.yaml"]
    line = complaint([*arguments, "--layers", "1"], 2, capsys)
    assert line == "--layers: expected at least 3, got 1"
    line = complaint([*arguments, "--init-channels", "8"], 2, capsys)
    assert line == "options.yaml: proportion: expected a divisor of --init-channels 8, got 5"


@pytest.mark.parametrize("options", ['{"dataset": "imagenet"}', '{"dataset": "digits"}', "[]"])
def test_the_options_of_the_run_to_retrain_are_named_by_their_file(options, tmp_path, capsys):
    ADARTS_V1.save(tmp_path / "genotype.json")
    (tmp_path / "config.json").write_text(options)
    line = complaint(["retrain", str(tmp_path)], 1, capsys)
    assert line.startswith(f"{tmp_path / 'config.json'}: ")
