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
from kernel_model.step import predict_launches

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc"),
]


def kernels_for(architecture: str, folder) -> dict[str, Kernel]:
    cubin = folder / "kernels.cubin"
    compile_cubin(KERNELS / "gather_channels.cu", architecture, cubin)
    return {kernel.name: kernel for kernel in read(cubin, architecture)}


def floats(bytes_: np.ndarray, kernel: str) -> np.ndarray:
    """Read numbers of a kernel's type."""
    if "BFloat16" in kernel:
        return (bytes_.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return bytes_.view(np.float16 if "Half" in kernel else np.float32)


def written_floats(memory, kernel: str) -> list[np.ndarray]:
    """Give what the blocks of a launch have written, by address, and what lies there now."""
    mine, there = [], []
    for number, row in zip(memory._numbers.tolist(), memory._rows.tolist(), strict=True):
        sectors = np.repeat(memory.written_by[row].any(axis=1), SECTOR)
        mine.append(memory.bytes[row][sectors])
        there.append(np.frombuffer(own_memory(number), np.uint8)[sectors])
    return [floats(np.concatenate(both), kernel) for both in (mine, there)]


@pytest.mark.parametrize("architecture", CARDS)
def test_same_numbers(architecture, tmp_path):
    card, kernels = CARDS[architecture], kernels_for(architecture, tmp_path)
    before = []
    compared = []

    def compare() -> None:
        while before:
            launch, memory = before.pop()
            mine, there = written_floats(memory, launch.name)
            bound = 1e-5 if "<float" in launch.name else 1e-2
            np.testing.assert_allclose(mine, there, rtol=bound, atol=bound / 10)
            compared.append(launch.name)

    def listen(launch) -> bool:
        compare()
        machine = Machine(kernels[launch.name], launch, np.arange(launch.blocks), card, own_memory)
        before.append((launch, machine.run().memory))
        return True

    ours = library.load()
    index = torch.tensor([3, 11, 4])
    results = []
    with observed(listen, library_path("adarts_emulated")):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            x, scores = torch.randn(5, 12, 9, 8, dtype=dtype), torch.rand(5, 12, dtype=dtype)
            for of in (x, x.contiguous(memory_format=torch.channels_last)):
                gathered = ours.gather_channels(of, index, scores)
                given = (gathered, of, index, scores, 12, True, True)
                results += [gathered, *ours.gather_channels_backward(*given)]
        compare()  # while the results are there
    assert results
    for what in ("gather_planes<float", "gather_pixels_backward<BFloat16", "gather_planes<Half"):
        assert any(what in name for name in compared), compared


def test_a_launch_behind_one_of_ours_has_the_shorter_gap(tmp_path):
    ours, card, of_torch = library.load(), CARDS["sm_90"], [0]
    x, index = torch.randn(1, 4, 4, 4), torch.tensor([2, 0])

    def launch_thrice() -> None:
        ours.gather_channels(x, index, None)
        ours.gather_channels(x, index, None)
        of_torch[0] += 1
        ours.gather_channels(x, index, None)

    kernels = {"sm_90": kernels_for("sm_90", tmp_path)}
    emulated = library_path("adarts_emulated")
    predicted = predict_launches(launch_thrice, kernels, emulated, lambda: of_torch[0])["sm_90"]
    assert predicted.launches == 3
    assert predicted.seconds("gap") == 2 * card.launch_gap + card.dependent_gap
    assert sum(count for some in predicted.by_kernel().values() for count, _ in some) == 3


def test_an_error_of_the_listener_is_raised():
    ours = library.load()

    def listen(launch) -> bool:
        raise LookupError(launch.name)

    with (
        pytest.raises(LookupError, match="mixed_sum_kernel<float, 4>"),
        observed(listen, library_path("adarts_emulated")),
    ):
        ours.mixed_sum([torch.ones(8)], torch.ones(1))


def test_a_kernel_may_run_on_what_another_that_did_not_should_have_written():
    ours, seen = library.load(), []

    def listen(launch) -> bool:
        seen.append(launch.name)
        return "attention_kernel" in launch.name

    x, w1 = torch.randn(2, 4, 4, 4), torch.randn(2, 4)
    with observed(listen, library_path("adarts_emulated")):
        ours.channel_attention(x, w1, w1.t().contiguous())
    assert any("pool" in name for name in seen), seen
