"""On a machine with torch, numpy and pytest alone everything for a GPU runs."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adarts_ext.cli import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
OTHERS = ["tensorboard", "tqdm", "PIL", "jsonargparse", "yaml", "sklearn", "torchvision"]
OTHERS += ["matplotlib", "pybind11", "ninja"]
REFUSAL = "raise ModuleNotFoundError(name={!r})\n"
# Fewer nodes in a cell take less time, and so does one import of torch for both.
BOTH = """
import runpy, sys
from adarts_ext.bench import arms
from adarts_ext.cli import main
arms.NODES = 2
assert main(sys.argv[1:]) == 0
sys.argv = ["profile_kernels.py", "--help"]
sys.path.insert(0, "benchmarks/scripts")
runpy.run_path("benchmarks/scripts/profile_kernels.py", run_name="__main__")
"""
TINY = ["--init-channels", "8", "--layers", "3", "--image-size", "16", "--batches", "2"]
TINY += ["--rounds", "1"]


@pytest.fixture
def run(tmp_path):
    """Run Python where nothing else can be imported, nor in what it starts."""
    without = tmp_path / "without"
    without.mkdir()
    for name in OTHERS:
        (without / f"{name}.py").write_text(REFUSAL.format(name))

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        made = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{without}:{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        return made

    return call


def test_bench_and_the_profile_need_no_pytest_either(run, tmp_path):
    (tmp_path / "without" / "pytest.py").write_text(REFUSAL.format("pytest"))
    options = [*TINY, "--parts", "cell", "--device", "cpu", "--out", str(tmp_path / "out")]
    made = run("-c", BOTH, "bench", *options)
    assert "no pictures: matplotlib is not installed" in made.stderr
    assert "## Search cell" in made.stdout
    assert "usage: profile_kernels.py" in made.stdout


def test_the_sanitizers_script(run):
    run("tests/sanitize.py", "--help")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_no_test_passes_for_one():
    command = [sys.executable, "-m", "pytest", "--device", "cuda", "tests/ops/test_cuda.py"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert "finds no" in made.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured(monkeypatch, capsys):
    assert main(["bench", "--device", "cuda", "--parts", "ops"]) != 0
    assert "finds no" in capsys.readouterr().err
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "scripts"))
    with pytest.raises(ValueError, match="finds no"):
        importlib.import_module("profile_kernels").main([])


def test_the_tests_of_kernels_and_networks(run):
    """All are found; some of them run."""
    found = ("tests/ops", "tests/nn/test_cuda_network.py", "-k", "test_own_kernels")
    run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--device", "cpu", *found)
