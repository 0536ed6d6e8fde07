"""Options and fixtures of the benchmarks that run under pytest-benchmark: `pytest benchmarks`.

Cases and arms are those of `adarts bench` (adarts_ext/bench), which times the arms of a group in
turn and so resolves smaller differences; here every arm is timed by itself.
"""

from __future__ import annotations

import pytest
import torch

import adarts_ext
from adarts_ext.bench.groups import Size
from adarts_ext.bench.machine import check_kernels, device_name
from adarts_ext.bench.operators import PROPORTION, STAGES
from adarts_ext.bench.parts import cell, ops

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
collect_ignore = ["demo", "results", "scripts"]


def pytest_configure(config):
    try:
        check_kernels(DEVICE)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_addoption(parser):
    group = parser.getgroup("benchmarks of adarts_ext")
    group.addoption("--batch", type=int, default=64, help="images, N (default: 64)")
    group.addoption("--init-channels", type=int, default=16, help="channels, C (default: 16)")
    group.addoption("--layers", type=int, default=8, help="cells (default: 8)")
    group.addoption("--image-size", type=int, default=32, help="pixels of a side (default: 32)")
    group.addoption(
        "--compile",
        action="store_true",
        help="time torch.compile too; operators take it seconds each, a search step many minutes",
    )


def network_size(config) -> Size:
    """The size of the network and its batches."""
    names = ("batch", "init_channels", "layers", "image_size")
    return Size(*map(config.getoption, names))


def pytest_generate_tests(metafunc):
    """Make a test of each stage for ``shape``, and of each kind of cell for ``position``."""
    size = network_size(metafunc.config)
    if "shape" in metafunc.fixturenames:
        shapes = [(size.batch, *stage, PROPORTION) for stage in stages(size)]
        metafunc.parametrize("shape", shapes, ids=ops.shape_name)
    if "position" in metafunc.fixturenames:
        metafunc.parametrize("position", cell.chosen_cells(size), ids=lambda at: f"cells.{at}")


def stages(size: Size) -> list[tuple[int, int]]:
    """Channels and side of the network's three stages."""
    default = Size()
    return [
        (c * size.channels // default.channels, side * size.image // default.image)
        for c, side in STAGES
    ]


def pytest_collection_modifyitems(config, items):
    """Leave torch.compile out where it is not asked for."""
    if config.getoption("--compile"):
        return
    left_out = [item for item in items if item.name.count("torch.compile")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_benchmark_update_machine_info(config, machine_info):
    """Say on what device and with which versions was measured."""
    versions = {"torch": torch.__version__, "adarts_ext": adarts_ext.__version__}
    machine_info.update(versions, device=device_name(DEVICE))


@pytest.fixture
def device() -> str:
    return DEVICE


@pytest.fixture
def size(request) -> Size:
    """The size of the network and its batches, as the options say."""
    return network_size(request.config)


@pytest.fixture
def time_call(benchmark):
    """Time a call, warm, as one arm of a group; what else is known of it goes into extra_info."""

    def run(group: str, call, **info) -> None:
        benchmark.group = group
        benchmark.extra_info.update(info)
        call()
        if DEVICE == "cpu":
            benchmark(call)
            return

        def finished() -> None:
            call()
            torch.cuda.synchronize()

        benchmark(finished)

    return run


@pytest.fixture
def time_operator(time_call):
    """Time a pass of an operator in one of its arms."""

    def run(module, shape: ops.Shape, which: str, arm: str) -> None:
        arguments = ops.draw_arguments(module, shape, DEVICE)
        passes = ops.make_passes(arm, module, shape, arguments, ops.Compiler())
        name = module.__name__.rpartition(".")[2]
        moved = module.bytes_moved(*shape)[ops.PASSES.index(which)]
        time_call(ops.group_name(name, shape, which), getattr(passes, which), bytes=moved)

    return run
