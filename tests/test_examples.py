"""The scripts of examples/ run, small, and its notebook; its table names them all."""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from image_folder import write_images
from notebook import run_notebook
from programs import write_program

from adarts_ext.data import load_dataset

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL = ["--channels=4", "--layers=3", "--epochs=1"]


@pytest.fixture
def _few_digits(monkeypatch):
    data = load_dataset("digits")
    few = replace(data, train_images=data.train_images[:64], train_labels=data.train_labels[:64])
    monkeypatch.setattr("adarts_ext.data.load_dataset", lambda name: few)


@pytest.fixture
def run_example(tmp_path, monkeypatch, capsys):
    """Run a script of examples/ as from the command line; give what it printed."""

    def run(name: str, *options: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *options])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_own_images(run_example, tmp_path):
    out = run_example("own_images.py", *SMALL, "--image-size=16", "--batch-size=100")
    assert re.search(r"[\d,]+ parameters, test accuracy \d+\.\d\d%", out)
    runs = tmp_path / "runs" / "own_images"
    assert len(list((runs / "images" / "train" / "ring").iterdir())) == 200
    assert (runs / "cells.png").is_file()
    genotype = (runs / "search" / "genotype.json").read_text()
    assert f"genotype: {json.dumps(json.loads(genotype))}" in out
    assert (runs / "network" / "result.json").is_file()


@pytest.mark.usefixtures("_few_digits", "own_candidates")
def test_own_candidate(run_example):
    out = run_example("own_candidate.py", *SMALL, "--batch-size", "16")
    assert "as published the cells run on: fused cell" in out
    assert "operator by operator (no kernels for candidate conv_1x7_7x1)" in out
    weights = re.findall(r"conv_1x7_7x1 weighs (\d\.\d+) on average", out)
    assert len(weights) == 2
    assert all(abs(float(weight) - 1 / 9) < 0.01 for weight in weights)
    assert re.search(r"the network to train now: [\d,]+ parameters", out)


@pytest.mark.usefixtures("_few_digits")
def test_own_loop(run_example):
    out = run_example("own_loop.py", *SMALL, "--batch-size", "16")
    layers = re.findall(r"^layer \d: (\w+) \((.*)\)$", out, re.MULTILINE)
    assert len(layers) == 3
    for best, weights in layers:
        found = dict(one.split() for one in weights.split(", "))
        assert len(found) == 4
        assert found[best] == max(found.values())
        assert set(found.values()) != {"0.500"}  # where they begin


def test_existing_code(run_example):
    sizes = ["--channels=4", "--layers=3", "--batch-size=4", "--image-size=16", "--steps=1"]
    out = run_example("existing_code.py", "--style", "pc-darts", *sizes)
    assert "3 Cell: cell (cells.0 to cells.2)" in out
    differences = re.findall(r"relative difference (\S+)", out)
    assert len(differences) == 4
    assert max(map(float, differences)) < 1e-3
    assert re.search(r"a search step: .* times as fast", out)


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Start a script of examples/, which finds the commands of this environment."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, module in (("adarts", "adarts_ext"), ("torchrun", "torch.distributed.run")):
        write_program(programs / name, f'exec "{sys.executable}" -m {module} "$@"')
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    started = []

    def start(name: str, *words: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [str(EXAMPLES / name), *words],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def search(tmp_path):
    """The command of a search on a small folder of images."""
    images = write_images(tmp_path / "images", 16, 2)
    sizes = "--layers 3 --steps 1 --init-channels 4 --proportion 2 --batch-size 8 --device cpu"
    return ["search", "--dataset", "folder", "--data-dir", str(images), *sizes.split()]


def test_a_machine_that_is_taken_away(script, search, tmp_path):
    epochs = 20
    words = ["run", *search, "--epochs", str(epochs), "--warmup-epochs", "0"]
    first = script("preemptible.sh", *words)
    limit = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoint.pt").exists():
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)
    first.terminate()
    _, told = first.communicate(timeout=120)
    assert first.returncode == 143, told
    assert "go on from its last checkpoint by: adarts search" in told
    assert not (tmp_path / "run" / "result.json").exists()
    done = len(json.loads((tmp_path / "run" / "history.json").read_text()))
    assert 1 <= done < epochs

    again = script("preemptible.sh", *words)
    _, told = again.communicate(timeout=120)
    assert again.returncode == 0, told
    assert f"epoch {done}/{epochs}:" not in told
    assert f"epoch {done + 1}/{epochs}:" in told
    assert (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    ("statuses", "status", "resumed"),
    [
        ([0], 0, [False]),
        ([2], 2, [False]),
        ([137, 143, 0], 0, [False, True, True]),
        ([137, 1], 1, [False, True]),
        ([137] * 10, 137, [False] + [True] * 9),
    ],
    ids=["ends", "wrong options", "killed twice", "killed, then an error", "always killed"],
)
def test_a_run_that_is_killed_goes_on(statuses, status, resumed, script, tmp_path):
    """With a program in the place of adarts, which ends as it is told."""
    (tmp_path / "statuses").write_text("".join(f"{one}\n" for one in statuses))
    stand_in = (
        'echo "$@" >> words; mkdir -p run; touch run/checkpoint.pt\n'
        'status=$(sed -n "$(wc -l < words)p" statuses); exit "$status"'
    )
    write_program(tmp_path / "programs" / "adarts", stand_in)
    process = script("preemptible.sh", "run", "retrain", "runs/search")
    process.communicate(timeout=60)
    assert process.returncode == status
    lines = (tmp_path / "words").read_text().splitlines()
    command = "retrain runs/search --out run"
    assert lines == [command + " --resume" * one for one in resumed]


def test_several_gpus(script, search, tmp_path, monkeypatch):
    monkeypatch.setenv("PROCESSES", "2")
    words = ["run", *search, "--epochs", "1", "--warmup-epochs", "0"]
    process = script("several_gpus.sh", *words)
    out, told = process.communicate(timeout=240)
    assert process.returncode == 0, told
    assert told.count("epoch 1/1") == out.count("normal cell:") == 1
    machine = json.loads((tmp_path / "run" / "machine.json").read_text())
    assert machine["processes"] == 2


@pytest.mark.parametrize("name", ["preemptible.sh", "several_gpus.sh"])
def test_a_script_without_words_says_what_it_expects(name, script):
    process = script(name)
    _, told = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "expected a run folder, then a command of adarts" in told


def test_the_notebook_runs_and_holds_the_outputs_of_a_run(tmp_path):
    path = EXAMPLES / "one_edge.ipynb"
    assert path.stat().st_size < 400_000
    kept, ran = nbformat.read(path, as_version=4), run_notebook(path, tmp_path)
    for number, (one, other) in enumerate(zip(code_cells(kept), code_cells(ran), strict=True), 1):
        assert one.execution_count == number
        assert kinds_of_output(one) == kinds_of_output(other)
    assert sum("image/png" in kind for one in code_cells(kept) for kind in kinds_of_output(one)) > 9
    assert not re.search(r"(?<![\w+/=.])/\w+/\w", path.read_text())  # paths of a machine


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds_of_output(cell):
    """What came out of a cell, but for its numbers."""
    return [(one.output_type, *sorted(one.get("data", {}))) for one in cell.outputs]


def test_the_table_names_every_example():
    named = re.findall(r"\]\(([\w.]+)\) \|", (EXAMPLES / "README.md").read_text())
    there = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert sorted(named) == sorted(there - {"README.md"})
