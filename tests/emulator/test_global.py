"""Global memory: races between blocks and reads of what nobody has written are reported."""

from __future__ import annotations

import re

import numpy as np
import pytest

from emulator.faults import launch

pytestmark = pytest.mark.slow

WHO = r"kernel {kernel}, block \(\d, 0, 0\), thread \(\d+, 0, 0\): "


def test_blocks_may_share_what_they_read_and_write_side_by_side(planted):
    out = np.zeros((300, 2), np.uint8)
    planted.run("neighbours", (300,), (2,), 0, np.full(1, 7, np.uint8), out)
    assert (out == ((7 + np.arange(300)) % 256)[:, None]).all()


@pytest.mark.parametrize("run_seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("blocks_write_one", r"writes what block \(\d, 0, 0\) wrote"),
        ("block_reads_another", r"(reads|writes) what block \(\d, 0, 0\) (read|wrote)"),
        ("block_reads_an_atomic", r"(reads|updates) what block \(\d, 0, 0\) (updated|read)"),
    ],
)
def test_races_between_blocks_are_reported(planted, seed, kernel, message, run_seed):
    launch(planted, kernel, block=(32,))
    seed(run_seed)
    with pytest.raises(RuntimeError) as error:
        launch(planted, kernel, grid=(2,), block=(32,))
    expected = f"{WHO.format(kernel=kernel)}race between blocks: {message}, at 0x[0-9a-f]+"
    assert re.fullmatch(expected, str(error.value))


def test_reads_of_memory_that_nobody_has_written_are_reported(planted):
    memory = np.zeros(64, np.int32)
    planted.mark_unwritten(memory)
    with pytest.raises(RuntimeError, match="reads global memory that nobody has written, at 0x"):
        planted.run("unwritten_global", (1,), (64,), 0, memory)


def test_memory_may_be_written_by_a_kernel_or_by_the_host(planted):
    memory = np.zeros(64, np.int32)
    planted.mark_unwritten(memory)
    planted.run("blocks_write_one", (1,), (64,), 0, memory)
    planted.run("unwritten_global", (1,), (64,), 0, memory)
    planted.mark_unwritten(memory)
    memory[:] = 1
    planted.run("unwritten_global", (1,), (64,), 0, memory)
    assert (memory == 1).all()
