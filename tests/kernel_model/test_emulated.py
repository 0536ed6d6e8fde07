"""What nvcc makes of a kernel, run here, comes to what the emulator makes of its source."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from emulator import library
from emulator.build import library_path
from kernel_model.card import CARDS
from kernel_model.cubin import Kernel, compile_cubin, read
from kernel_model.library import KERNELS
from kernel_model.machine import Machine
from kernel_model.memory import SECTOR, own_memory
from kernel_model.record import observed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc"),
]


def kernels_for(architecture: str, folder) -> dict[str, Kernel]:
    cubin = folder / "kernels.cubin"
    compile_cubin(KERNELS / "gather_channels.cu", architecture, cubin)
    return {kernel.name: kernel for kernel in read(cubin, architecture)}


def written_floats(memory) -> np.ndarray:
    """Give what the blocks of a launch have written, by address, and what lies there now."""
    mine, there = [], []
    for number, row in zip(memory._numbers.tolist(), memory._rows.tolist(), strict=True):
        sectors = np.repeat(memory.written_by[row].any(axis=1), SECTOR)
        mine.append(memory.bytes[row][sectors])
        there.append(np.frombuffer(own_memory(number), np.uint8)[sectors])
    return np.stack([np.concatenate(both).view(np.float32) for both in (mine, there)])


@pytest.mark.parametrize("architecture", CARDS)
def test_same_numbers(architecture, tmp_path):
    card, kernels = CARDS[architecture], kernels_for(architecture, tmp_path)
    before = []
    compared = []

    def compare() -> None:
        while before:
            mine, there = written_floats(before.pop())
            np.testing.assert_allclose(mine, there, rtol=1e-5, atol=1e-6)
            compared.append(mine.size)

    def listen(launch) -> bool:
        compare()
        machine = Machine(kernels[launch.name], launch, np.arange(launch.blocks), card, own_memory)
        before.append(machine.run().memory)
        return True

    ours = library.load()
    x, scores = torch.randn(5, 12, 9, 8), torch.rand(5, 12)
    index = torch.tensor([3, 11, 4])
    interleaved = x.contiguous(memory_format=torch.channels_last)
    with observed(listen, library_path("adarts_emulated")):
        results = [ours.gather_channels(of, index, scores) for of in (x, interleaved)]
        for of in (x, interleaved):
            results += ours.gather_channels_backward(of[:, :3], of, index, scores, 12, True, True)
        compare()  # while the results are there
    assert results
    assert len(compared) >= 4
    assert sum(compared) > 4 * 5 * 3 * 72


def test_an_error_of_the_listener_is_raised():
    def listen(launch) -> bool:
        raise LookupError(launch.name)

    with (
        pytest.raises(LookupError, match="mixed_sum_kernel<float, 4>"),
        observed(listen, library_path("adarts_emulated")),
    ):
        library.load().mixed_sum([torch.ones(8)], torch.ones(1))
