"""On a machine with torch, numpy and pytest alone everything for a GPU runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
OTHERS = ["tensorboard", "tqdm", "PIL", "jsonargparse", "yaml", "sklearn", "torchvision"]
OTHERS += ["matplotlib", "pybind11", "ninja"]
TINY = ["--init-channels", "8", "--layers", "3", "--image-size", "16", "--batches", "2"]
TINY += ["--rounds", "1"]


@pytest.fixture
def run(tmp_path):
    """Run Python where nothing else can be imported, nor in what it starts."""
    without = tmp_path / "without"
    without.mkdir()
    for name in OTHERS:
        (without / f"{name}.py").write_text(f"raise ModuleNotFoundError(name={name!r})\n")

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


def test_bench(run, tmp_path):
    options = [*TINY, "--parts", "cell", "--device", "cpu", "--out", str(tmp_path / "out")]
    made = run("-m", "adarts_ext", "bench", *options)
    assert "no pictures: matplotlib is not installed" in made.stderr
    assert "## Search cell" in made.stdout


def test_scripts(run):
    run("benchmarks/scripts/profile_kernels.py", "--help")
    run("tests/sanitize.py", "--help")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    "command",
    [
        ("-m", "pytest", "--device", "cuda", "tests/ops/test_cuda.py"),
        ("-m", "adarts_ext", "bench", "--device", "cuda", "--parts", "ops"),
        ("benchmarks/scripts/profile_kernels.py",),
    ],
)
def test_without_a_gpu_nothing_passes_for_it(command):
    made = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode != 0
    assert "finds no" in made.stderr


def test_the_tests_of_kernels_and_networks(run):
    """All are found; some of them run."""
    pytest_of = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--device", "cpu")
    run(*pytest_of, "--collect-only", "tests/ops", "tests/nn/test_cuda_network.py")
    run(*pytest_of, "tests/ops/test_own_kernels.py")
