"""Fixtures shared by the operator tests: devices, dtypes and memory layouts."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from typing import Any

# Small tensors gain nothing from threads, and waiting threads take the time from other work. Set
# before torch is imported, and inherited by the commands that tests run.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from torch import Tensor

from adarts_ext import _library
from adarts_ext.compat import recognize
from adarts_ext.genotype.operations import OWN
from adarts_ext.nn.own_candidates import LOADED

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
EMULATED = ("emulated", "sanitized")
RECOGNIZED: dict[Any, Any] = {}
# Without a GPU, torch.manual_seed notes where it was called from for each kind that might come.
_seed_torch = (torch if torch.cuda.is_available() else torch.default_generator).manual_seed
LAYOUTS = ["contiguous", "channels_last", "channel_slice", "last_slice", "pixel_slice", "expanded"]


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        action="append",
        choices=("cpu", *EMULATED, "cuda"),
        help="where the operator tests run; cpu and emulated if none is given; sanitized is for "
        "tests/emulator/test_asan.py",
    )
    parser.addoption("--seed", type=int, default=0, help="draw the tests' numbers anew")


def pytest_configure(config):
    global _run
    _run = config.getoption("seed")
    if "cuda" in (config.getoption("device") or []):
        if reason := reason_against_cuda():
            raise pytest.UsageError(f"--device cuda: {reason}")
        config.pluginmanager.register(ShowsFailuresAtOnce(config))
        # What is compared is float32, and the same in two runs.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True


class ShowsFailuresAtOnce:
    """On a GPU, whose time may be up before the end, when pytest would show them."""

    def __init__(self, config):
        self.config = config

    def pytest_runtest_logreport(self, report):
        if report.failed:
            terminal = self.config.pluginmanager.get_plugin("terminalreporter")
            terminal.write_line(f"\n{report.longreprtext}")


def reason_against_cuda() -> str | None:
    """Return why the CUDA kernels cannot run here, or None."""
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} finds no GPU"
    return _library.cuda_error


@pytest.fixture
def gpu(request):
    """Run a test where `--device cuda` asks for it; its tensors are made on the GPU."""
    if "cuda" not in (request.config.getoption("device") or []):
        pytest.skip("runs with --device cuda")
    with torch.device("cuda"):
        yield


@pytest.fixture
def taken(monkeypatch, tmp_path):
    """Catch the options that a command would run with, in place of running it."""
    from adarts_ext.cli import retrain, search

    caught = {}

    def take(kind):
        def run(*arguments, slurm=None):
            caught[kind] = arguments
            raise ValueError("caught")

        return run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search, "search_seeds", take("search"))
    monkeypatch.setattr(retrain, "retrain_seeds", take("retrain"))
    return caught


def run_program(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, and return what it wrote and its status."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def seed_of_run(number: int = 0) -> int:
    """Return the seed of this number; another ``--seed`` gives others."""
    return 1000 * _run + number


def pytest_generate_tests(metafunc):
    chosen = metafunc.config.getoption("device") or ["cpu", "emulated"]
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", chosen, indirect=True)
    if "torch_device" in metafunc.fixturenames:
        torch_devices = [device for device in chosen if device not in EMULATED]
        metafunc.parametrize("torch_device", torch_devices, indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Have the garbage collector leave out what is here by then, and rarely go through the rest.

    What is imported is never garbage, but was gone through every few tests.
    """
    gc.disable()
    collected = yield
    gc.freeze()
    gc.set_threshold(20_000, 10, 50)  # 700, 10, 10 otherwise
    gc.enable()
    return collected


@pytest.fixture(autouse=True)
def _seed():
    _seed_torch(seed_of_run())


@pytest.fixture(autouse=True)
def _interruptible():
    """Take SIGINT; in the background of a shell it is ignored, also by what is begun there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def emulate(sanitize: bool):
    from emulator import library

    with library.emulated(sanitize):
        yield


@pytest.fixture
def emulated():
    """Put the CUDA kernels under the emulator in the place of the compiled operators."""
    with emulate(sanitize=False):
        yield


@pytest.fixture
def device(request):
    """Run a test on the CPU, on the CUDA kernels under the emulator, or on a GPU.

    On a GPU all tensors are made there. The emulated operators take CPU tensors; here they stand in
    for the CPU's, and a test that calls none of them or one of the CPU's fails.
    """
    name = request.param
    kernels = emulate(name == "sanitized") if name in EMULATED else nullcontext()
    with kernels, torch.device("cuda") if name == "cuda" else nullcontext():
        yield name


@pytest.fixture
def torch_device(request):
    """Run a test on the devices that torch knows: the CPU, and a GPU."""
    with torch.device("cuda") if request.param == "cuda" else nullcontext():
        yield request.param


@pytest.fixture(params=DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def dtype(request) -> torch.dtype:
    return request.param


@pytest.fixture(params=LAYOUTS)
def layout(request) -> str:
    return request.param


def as_index(channels) -> Tensor:
    """The channels as the operators take them."""
    return torch.tensor(channels, dtype=torch.int64)


def feature_map(n, c, h, w, dtype=torch.float32, layout="contiguous") -> Tensor:
    """Random numbers of the shape (n, c, h, w) that lie in memory as ``layout`` says."""
    if layout == "contiguous":
        return torch.randn(n, c, h, w, dtype=dtype)
    if layout == "channels_last":
        return torch.randn(n, h, w, c, dtype=dtype).permute(0, 3, 1, 2)
    if layout == "channel_slice":
        return torch.randn(n, c + 3, h, w, dtype=dtype)[:, 2 : 2 + c]
    if layout == "last_slice":
        return torch.randn(n, h, w, c + 3, dtype=dtype).permute(0, 3, 1, 2)[:, 2 : 2 + c]
    if layout == "pixel_slice":
        return torch.randn(n, c, h, 2 * w, dtype=dtype)[..., ::2]
    assert layout == "expanded"
    return torch.randn(n, c, 1, 1, dtype=dtype).expand(n, c, h, w)


@pytest.fixture
def own_candidates():
    """Forget the candidates that a test registers."""
    before, files = dict(OWN), list(LOADED)
    yield
    OWN.clear()
    OWN.update(before)
    LOADED[:] = files


@pytest.fixture
def recognized_once(monkeypatch):
    """Have `accelerate` try each kind of cell and mixed operation once in all such tests.

    It tries them in each call, for code may read what changes between two of them. Not for tests
    that have the kernels compute something else in float64, in which they are tried.
    """
    once = recognize._once
    monkeypatch.setattr(
        recognize, "_once", lambda module, more, tried, _: once(module, more, tried, RECOGNIZED)
    )
