"""The emulator computes what a GPU does, and reports every fault that is planted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import seed_of_run

from emulator.build import build
from emulator.faults import launch
from emulator.sanitized import run_module

pytestmark = pytest.mark.slow

FULL = "0xffffffff"
WHO = r"kernel {kernel}, block \(0, 0, 0\), thread \(\d+, 0, 0\): "


@pytest.fixture
def random():
    return np.random.default_rng(seed_of_run())


def test_block_reduction(planted, random):
    x = random.integers(0, 100, (5, 128)).astype(np.float32)
    sums = np.zeros(5, np.float32)
    planted.run("block_sum", (5,), (128,), 0, x, sums)
    assert sums.tolist() == x.sum(1).tolist()


def source(kind: int, lane: int, argument: int, width: int) -> int:
    """Return the lane a shuffle reads, as the CUDA programming guide tells it."""
    first = lane // width * width
    if kind == 0:
        return first + argument % width
    chosen = [None, lane - argument, lane + argument, lane ^ argument][kind]
    inside = chosen >= first if kind == 1 else chosen < first + width
    return chosen if inside else lane


@pytest.mark.parametrize("width", [1, 2, 8, 16, 32])
@pytest.mark.parametrize("kind", range(4), ids=["idx", "up", "down", "xor"])
def test_shuffles(planted, random, kind, width):
    x = random.standard_normal(32).astype(np.float32)
    arguments = random.integers(0, 40 if kind == 0 else 32, 32).astype(np.int32)
    out = np.zeros(32, np.float32)
    planted.run("shuffle<float>", (1,), (32,), 0, kind, x, arguments, width, out)
    expected = [x[source(kind, lane, arguments[lane], width)] for lane in range(32)]
    assert out.tolist() == expected


@pytest.mark.parametrize(
    ("kernel", "dtype"),
    [
        ("shuffle<int>", np.int32),
        ("shuffle<unsigned>", np.uint32),
        ("shuffle<long long>", np.int64),
        ("shuffle<double>", np.float64),
    ],
)
def test_shuffles_move_every_bit(planted, random, kernel, dtype):
    x = random.integers(0, 256, 32 * dtype().itemsize).astype(np.uint8).view(dtype)
    out = np.zeros(32, dtype)
    planted.run(kernel, (1,), (32,), 0, 3, x, np.full(32, 5, np.int32), 32, out)
    assert out.tobytes() == x[np.arange(32) ^ 5].tobytes()


def test_groups_of_eight_lanes_shuffle_on_their_own(planted):
    x = np.arange(64, dtype=np.int32)
    out = np.zeros(64, np.int32)
    planted.run("group_sums", (1,), (64,), 0, x, out)
    sums = x.reshape(8, 8).sum(1) * 8 ** (np.arange(8) % 4)
    assert out.reshape(8, 8).tolist() == [[value] * 8 for value in sums]


@pytest.mark.parametrize("true", [[], [0, 3, 31], [40], range(64)], ids=str)
def test_votes(planted, true):
    x = np.zeros(64, np.int32)
    x[list(true)] = 7
    out = np.zeros((64, 4), np.uint32)
    planted.run("votes", (1,), (64,), 0, x, out)
    for warp in (0, 1):
        lanes = [i - 32 * warp for i in true if i // 32 == warp]
        ballot = sum(1 << lane for lane in lanes)
        assert out[warp * 32].tolist() == [ballot, bool(lanes), len(lanes) == 32, len(true) > 0]
        assert (out[warp * 32 : warp * 32 + 32] == out[warp * 32]).all()


def test_dynamic_shared_memory(planted, random):
    x = random.standard_normal(100)
    out = np.zeros(100)
    planted.run("reverse", (1,), (100,), 800, x, out)
    assert out.tolist() == x[::-1].tolist()


def test_more_dynamic_shared_memory_where_it_is_allowed(planted):
    x = np.arange(10.0)
    with pytest.raises(RuntimeError, match="too much shared memory"):
        planted.run("reverse", (1,), (10,), 100_000, x, x.copy())
    planted.allow_shared(100_000)
    planted.run("reverse", (1,), (10,), 100_000, x, x.copy())
    with pytest.raises(RuntimeError, match="too much shared memory"):
        planted.run("reverse", (1,), (10,), 100_008, x, x.copy())
    with pytest.raises(RuntimeError, match="too much shared memory"):
        planted.allow_shared(227 * 1024 + 1)


def test_atomics(planted, random):
    x = random.integers(0, 16, 200).astype(np.int32)
    bins, total, largest = np.zeros(16, np.uint32), np.zeros(1, np.uint64), np.zeros(1, np.int32)
    planted.run("histogram", (4,), (64,), 0, x, 200, bins, total, largest)
    assert bins.tolist() == np.bincount(x, minlength=16).tolist()
    assert (total[0], largest[0]) == (x.sum(), x.max())


def test_grid_and_block_of_two_dimensions(planted):
    out = np.zeros((3 * 2, 5 * 4), np.int32)
    planted.run("coordinates", (5, 3), (4, 2), 0, out, 20)
    row, column = np.indices(out.shape)
    assert (out == 1000 * (3 * (column // 4) + row // 2) + row % 2).all()


def test_no_blocks_is_no_launch(planted):
    planted.run("coordinates", (5, 0), (4, 2), 0, np.zeros(0, np.int32), 20)


def test_syncwarp_orders_the_lanes(planted, random):
    x = random.integers(0, 100, 32).astype(np.float32)
    out = np.zeros(1, np.float32)
    planted.run("warp_tree", (1,), (32,), 0, x, out)
    assert out[0] == x.sum()


def test_static_memory_of_a_function_is_one(planted):
    out = np.zeros(64, np.int32)
    planted.run("broadcast_twice", (1,), (64,), 0, out)
    assert (out == 7).all()


def order(planted, threads=64):
    out = np.zeros((2, threads), np.uint32)
    planted.run("order", (1,), (threads,), 0, np.zeros(1, np.uint32), out)
    return out.tolist()


def test_the_seed_decides_the_order_of_threads(planted, seed):
    orders = []
    for value in (1, 2, 3):
        seed(value)
        orders.append(order(planted))
        assert orders[-1] == order(planted), "the same seed must give the same order"
        assert sorted(orders[-1][0]) == list(range(64))
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_the_seed_can_come_from_the_environment(planted, seed):
    seed(5)
    code = (
        "import sys; from emulator.faults import load_module; from emulator.test_emulator import"
        " order; print(order(load_module(sys.argv[1])))"
    )
    made = subprocess.run(
        [sys.executable, "-c", code, str(build("planted"))],
        env={
            **os.environ,
            "ADARTS_EMULATOR_SEED": "5",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout.strip() == str(order(planted))


IN_KERNEL = {
    "missing_barrier": r"missing barrier: (reads|writes) all\[\d+\], which thread .* (wrote|read)$",
    "missing_second_barrier": r"missing barrier: (reads|writes) all\[\d+\], which thread .*",
    "two_writers": r"missing barrier: writes one\[0\], which thread .* wrote$",
    "missing_syncwarp": r"missing barrier: (reads|writes) all\[\d+\], which thread .*",
    "syncwarp_across_warps": r"missing barrier: (reads|writes) all\[\d+\], which thread .*",
    "atomic_and_plain": r"missing barrier: (reads|writes|updates) sum\[0\], which thread .*",
    "misaligned_load": r"assertion failed: .*\(from\) % .*== 0$",
    "misaligned_store": r"assertion failed: .*\(to\) % .*== 0$",
    "shared_out_of_bounds": r"shared memory out of bounds: all\[64\], which has 64 elements$",
    "unwritten": r"reads all\[64\], which no thread has written$",
    "divergent_shuffle": r"divergence: .*ended$|divergence: ends while thread .* waits for it in "
    rf"__shfl_xor_sync \(faulty_kernels.cuh:\d+, mask {FULL}\)$",
    "two_shuffles": r"divergence: calls __shfl_xor_sync .* waits in __shfl_xor_sync .*",
    "mask_without_self": r"wrong mask: calls __shfl_xor_sync .*, mask 0xffff\), which leaves out"
    r" its own lane \d+$",
    "different_masks": r"divergence: calls __any_sync .*mask 0x7?f+\), while .* mask 0x7?f+\)$"
    r"|wrong mask: .* leaves out its own lane 31$",
    "source_outside_mask": r"wrong mask: reads lane \d+ in __shfl_xor_sync .* that lane out$",
    "wrong_width": r"wrong width: calls __shfl_down_sync .* with width 12, expected a power of 2",
    "divergent_barrier": r"barrier divergence: .*",
    "two_barriers": r"barrier divergence: waits in __syncthreads .*, but .* in __syncthreads .*",
    "failing_assertion": r"assertion failed: threadIdx.x < 33$",
    "static_too_large": r"too much shared memory: 49160 bytes static and 0 dynamic, .* 49152$",
}


@pytest.mark.parametrize("run_seed", [1, 2, 3])
@pytest.mark.parametrize("kernel", IN_KERNEL)
def test_faults_are_reported(planted, seed, kernel, run_seed):
    seed(run_seed)
    with pytest.raises(RuntimeError, match=WHO.format(kernel=kernel) + IN_KERNEL[kernel]) as error:
        launch(planted, kernel)
    assert "\n" not in str(error.value)


def test_dynamic_shared_memory_has_bounds(planted):
    with pytest.raises(RuntimeError, match=r"out of bounds: all\[63\], which has 63 elements$"):
        launch(planted, "dynamic_out_of_bounds", shared_bytes=252)


def test_a_mask_may_not_name_lanes_that_do_not_exist(planted):
    with pytest.raises(RuntimeError, match=r"wrong mask: .* its warp has only 8 lanes"):
        launch(planted, "mask_without_lanes", block=(40,))


def test_a_deadlock_is_reported_with_the_state_of_the_threads(planted):
    expected = (
        r"kernel deadlock, block \(0, 0, 0\): deadlock: "
        r"1 in __syncthreads \(faulty_kernels.cuh:\d+\), first thread \(3, 0, 0\); "
        rf"31 in __syncwarp \(faulty_kernels.cuh:\d+, mask {FULL}\), first thread \(0, 0, 0\)$"
    )
    with pytest.raises(RuntimeError, match=expected):
        launch(planted, "deadlock", block=(32,))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"block": (2048,)}, r"block \(2048, 1, 1\) has 2048 threads"),
        ({"block": (64, 32)}, r"block \(64, 32, 1\) has 2048 threads"),
        ({"block": (0,)}, r"block \(0, 1, 1\) has 0 threads"),
        ({"grid": (1, 65536)}, r"grid \(1, 65536, 1\) is larger"),
        ({"shared_bytes": 49153}, "too much shared memory: 0 bytes static and 49153 dynamic"),
    ],
)
def test_launch_limits(planted, limits, message):
    with pytest.raises(RuntimeError, match=f"^kernel dynamic_out_of_bounds: {message}"):
        launch(planted, "dynamic_out_of_bounds", **limits)


def test_the_next_launch_after_a_fault_is_right(planted, random):
    for kernel in ("deadlock", "divergent_barrier", "missing_barrier"):
        with pytest.raises(RuntimeError):
            launch(planted, kernel)
        test_block_reduction(planted, random)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("global_out_of_bounds", "heap-buffer-overflow"),
        ("local_out_of_bounds", "stack-buffer-overflow"),
        ("overflow", "runtime error: signed integer overflow"),
    ],
)
def test_sanitizers_end_the_process(kernel, message):
    module = build("planted", sanitize=True)
    made = run_module("faults", str(module), kernel)
    assert made.returncode != 0
    assert message in made.stderr
    if "overflow" not in kernel:  # UndefinedBehaviorSanitizer does not say who was at work
        assert f"kernel {kernel}, block (0, 0, 0), thread (" in made.stderr


@pytest.mark.parametrize("kernel", ["missing_barrier", "deadlock", "failing_assertion"])
def test_faults_are_reported_under_the_sanitizers(kernel):
    made = run_module("faults", str(build("planted", sanitize=True)), kernel)
    assert made.returncode == 1
    assert made.stderr.splitlines()[-1].startswith(
        f"RuntimeError: kernel {kernel}, block (0, 0, 0)"
    )
    assert "ERROR: AddressSanitizer" not in made.stderr
