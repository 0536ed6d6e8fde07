"""Three kernels whose cost is known by hand, and one whose threads part and meet again."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from kernel_model.card import H100, SUSTAINED, occupancy
from kernel_model.hot_loop import hottest_loop
from kernel_model.pipes import FMA, pipe_of
from kernel_model.predict import predict
from known_kernels import IN, OUT, known_kernel, launch_of, memory_of, run, written

WARPS = 8  # of a block of 256 threads


def test_copy():
    launch = launch_of("copy", 3, 256, "<QQ", IN, OUT)
    inputs = np.arange(3 * 256 * 4, dtype=np.float32)
    done = run(launch, inputs)
    assert (written(done, inputs.size) == inputs).all()
    traffic = done.traffic
    assert traffic.read_requests.tolist() == [WARPS] * 3
    assert traffic.read_sectors.tolist() == [16 * WARPS] * 3
    assert traffic.first_sectors.tolist() == [16 * WARPS] * 3
    assert traffic.written_sectors.tolist() == [16 * WARPS] * 3
    assert traffic.lsu_cycles.tolist() == [8 * WARPS] * 3
    code = known_kernel("copy").code
    assert (done.executions == WARPS).all(), "there is no branch"
    assert len(code) * WARPS == done.executions[:, 0].sum()


def test_a_copy_is_bound_by_memory():
    blocks = 50_000
    launch = launch_of("copy", blocks, 256, "<QQ", IN, OUT)
    found = predict(known_kernel("copy"), launch, H100, memory_of(np.zeros(0)))
    moved = 2 * blocks * 256 * 16
    assert found.bound == "DRAM"
    assert found.unique == found.written == moved / 2
    assert found.terms["DRAM"] == pytest.approx(moved / (H100.dram_bytes * SUSTAINED))
    assert found.resident == 8, "2,048 threads"
    assert found.waves == pytest.approx(blocks / (8 * 132))
    assert found.gap == H100.launch_gap
    assert found.least < found.seconds


def test_strided_copy():
    launch = launch_of("strided_copy", 2, 256, "<QQ", IN, OUT)
    inputs = np.arange(2 * 256 * 32, dtype=np.float32)
    done = run(launch, inputs)
    assert (written(done, 512) == inputs[::32]).all()
    assert done.traffic.read_sectors.tolist() == [32 * WARPS] * 2, "one a thread"
    assert done.traffic.written_sectors.tolist() == [4 * WARPS] * 2
    assert done.traffic.lsu_cycles.tolist() == [(32 + 1) * WARPS] * 2, "32 lines, and 1"


@pytest.mark.parametrize("count", [1, 21, 1000])
def test_multiply_add_chain(count):
    launch = launch_of("multiply_add_chain", 1, 32, "<ffi4xQ", 0.5, 1.0, count, OUT)
    done = run(launch, np.zeros(0))
    assert written(done, 32)[0] == pytest.approx(2 - 1.5 * 0.5**count)
    code = known_kernel("multiply_add_chain").code
    issued = Counter()
    for instruction, times in zip(code, done.executions[:, 0].tolist(), strict=True):
        issued[instruction.opcode] += times
    assert issued["FFMA"] == count, "however often the loop is unrolled"
    chain = 4 * count
    assert chain < done.clocks[0] < 1.15 * chain + 250, "and what comes before and after"


def test_a_chain_in_many_warps_is_bound_by_the_pipe():
    count = 10_000
    launch = launch_of("multiply_add_chain", 132 * 8, 256, "<ffi4xQ", 0.5, 1.0, count, OUT)
    kernel = known_kernel("multiply_add_chain")
    found = predict(kernel, launch, H100, memory_of(np.zeros(0)))
    of_scheduler = 64 / 4 * count  # multiply-adds
    assert found.terms[FMA] == pytest.approx(of_scheduler / H100.clock, rel=0.05)
    assert found.bound == "issue", "a few branches beside"
    assert found.chain == pytest.approx(4 * count / H100.clock, rel=0.15)
    assert found.threads == 32
    loop = found.hot_loop
    assert loop.share > 0.99
    assert loop.by_pipe[FMA] == 16
    assert pipe_of(kernel.code[loop.address // 16]) in loop.by_pipe


@pytest.mark.parametrize("threads", [32, 96, 250])
def test_threads_part_and_meet_again(threads):
    counts = np.arange(32, dtype=np.int32)[::-1] % 7
    launch = launch_of("meeting", 2, threads, "<QQ", IN, OUT)
    done = run(launch, counts)
    thread = np.arange(threads)
    kept = [sum(1 / (i + t + 1) for i in range(counts[t % 32])) for t in thread.tolist()]
    np.testing.assert_allclose(written(done, 2 * threads), 2 * kept[::-1], rtol=1e-5)
    warps = -(-threads // 32)
    assert done.executions[-1].max() <= warps
    barrier = next(n for n, i in enumerate(known_kernel("meeting").code) if i.opcode == "BAR")
    assert done.executions[barrier].tolist() == [warps] * 2, "each warp comes as a whole"


def test_nothing_loops_in_a_copy():
    code = known_kernel("copy").code
    assert hottest_loop(code, np.ones(len(code), int)) is None


def test_wrong_addresses_are_refused():
    launch = launch_of("copy", 1, 32, "<QQ", IN + 4, OUT)
    with pytest.raises(IndexError, match=r"copy, LDG.*: 0x40000004 is no multiple of 16"):
        run(launch, np.zeros(4096, np.float32))


def test_occupancy():
    assert occupancy(H100, warps=8, registers=116, shared=20480) == 2
    assert occupancy(H100, warps=4, registers=168, shared=7168) == 3
    assert occupancy(H100, warps=8, registers=32, shared=100 * 1024) == 2
    with pytest.raises(ValueError, match="H100 SXM, got 32 warps of 96 registers"):
        occupancy(H100, warps=32, registers=96, shared=0)
