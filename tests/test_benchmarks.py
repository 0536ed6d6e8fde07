"""The benchmark scripts at tiny sizes: that they run, and that their tables hold what they say.

The operators' benchmarks are tried by hand; the scripts of the whole search step are tried here.
"""

from __future__ import annotations

import contextlib
import importlib
import json
from collections import Counter
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
TINY = ["--init-channels", "8", "--layers", "3", "--size", "16"]


@pytest.fixture
def script(monkeypatch):
    """Import a script as it is when it is run: with its folder first on the path."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads = torch.get_num_threads()
    yield importlib.import_module
    torch.set_num_threads(threads)


def table_rows(text: str) -> list[list[str]]:
    """The cells of all table rows in a Markdown text, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_step(script, tmp_path):
    bench_step = script("bench_step")
    out = tmp_path / "step.md"
    bench_step.main(["--out", str(out), "--batches", "2", "--rounds", "1", *TINY])
    (data,) = json.loads(out.with_suffix(".json").read_text())
    assert set(data["seconds"]) == set(bench_step.ARMS)
    assert all(len(seconds) == 1 for seconds in data["seconds"].values())
    losses = data["loss"]
    exact = [loss for name, loss in losses.items() if name != "ours, bfloat16"]
    assert max(exact) - min(exact) < 1e-2, losses  # all arms make the same step
    rows = table_rows(out.read_text())
    assert {row[0] for row in rows} >= set(bench_step.ARMS)
    assert any("the fastest plain arm" in row[0] for row in rows)


def test_step_profile(script, tmp_path):
    out = tmp_path / "profile.md"
    script("bench_step").main(
        ["--out", str(out), "--batches", "2", "--rounds", "1", "--profile", *TINY]
    )
    seconds = json.loads(out.with_suffix(".json").read_text())["2"]
    parts = {"search_cell", "search_cell_backward", "preprocess_cell", "stem", "optimisers"}
    assert parts <= set(seconds)
    whole = seconds.pop("whole step")
    del seconds["whole step, without the profiler"]
    assert sum(seconds.values()) == pytest.approx(whole)


def test_kept_bytes_leaves_out_weights_and_images(script):
    bench_memory, search_step = script("bench_memory"), script("search_step")
    small, large = (
        bench_memory.kept_bytes("plain", search_step.Size(batch, 8, 3, 16)) for batch in (2, 4)
    )
    # all but alphas, betas and statistics grows with the batch
    assert small < large < 2 * small
    assert large > 1.95 * small


def test_peak_rise_holds_what_is_kept(script):
    bench_memory, size = script("bench_memory"), script("search_step").Size(32, 8, 3, 16)
    kept = bench_memory.kept_bytes("ours, store", size)
    rise = bench_memory.peak_rise_of_fresh_process("ours, store", size, threads=1)
    assert 0.9 * kept < rise < 3 * kept


def test_memory(script, tmp_path, monkeypatch):
    bench_memory = script("bench_memory")
    rises = {"plain": 90 * 2**20, "ours, store": 30 * 2**20, "ours, recompute": 9 * 2**20}
    monkeypatch.setattr(
        bench_memory, "peak_rise_of_fresh_process", lambda arm, size, threads: rises[arm]
    )
    out = tmp_path / "memory.md"
    bench_memory.main(["--out", str(out), "--batch", "32", *TINY])
    found = json.loads(out.with_suffix(".json").read_text())
    plain, store, recompute = (found[arm]["kept"] for arm in rises)
    assert plain > store > recompute > 0
    rows = table_rows(out.read_text())[1:]
    assert [row[0] for row in rows] == list(rises)
    assert [row[3:5] for row in rows] == [["90.0", "1.00x"], ["30.0", "3.00x"], ["9.0", "10.00x"]]
    assert rows[1][2] == f"{plain / store:.2f}x"


def test_scaling(script, tmp_path):
    out = tmp_path / "scaling.md"
    varied = ["--vary-batch", "2", "18", "--vary-channels", "--vary-layers", "--vary-image", "16"]
    common = ["--rounds", "1", "--batch", "2", *TINY, *varied]
    script("bench_scaling").main(["--out", str(out), "--limit", "0", *common])
    points = json.loads(out.with_suffix(".json").read_text())
    assert [(p["varied"], p["value"]) for p in points] == [
        ("batch", 2),
        ("batch", 18),
        ("image", 16),
    ]
    assert points[0]["seconds"] == points[2]["seconds"]  # the same size is measured once
    assert points[1]["seconds"]["plain"] is None
    assert points[1]["kept"]["plain"] > points[0]["kept"]["plain"]
    rows = table_rows(out.read_text())
    assert rows[2][1] == "over 0"
    assert out.with_suffix(".png").stat().st_size > 0


def test_convergence(script, tmp_path):
    tiny = ["--steps", "1", "--seeds", "3", "--batch", "4", "--init-channels", "8", "--layers", "3"]
    script("bench_convergence").main(["--out", str(tmp_path), *tiny])
    runs = json.loads((tmp_path / "convergence.json").read_text())["3"]
    assert set(runs) == {"reference", "fused", "two threads"}
    for loss in ("training", "validation"):
        first = [run[loss][0] for run in runs.values()]
        assert all(len(run[loss]) == 1 for run in runs.values())
        assert max(first) - min(first) < 1e-3, first  # from the same weights, on the same batch
    rows = table_rows((tmp_path / "convergence.md").read_text())
    assert [row[0] for row in rows[1:]] == ["fused and reference", "two threads and reference"]
    assert (tmp_path / "convergence.png").stat().st_size > 0


def test_foreach_launches(script):
    foreach_launches = script("bench_launches").foreach_launches
    assert foreach_launches([], 1) == 0
    assert foreach_launches([1] * 110, 1) == 1
    assert foreach_launches([1] * 111, 1) == 2
    assert foreach_launches([1] * 65, 2) == 2
    assert foreach_launches([320 * 2**16], 1) == 1
    assert foreach_launches([320 * 2**16 + 1], 1) == 2
    assert foreach_launches([320 * 2**16, 1], 1) == 2


def test_launches_of_torch(script):
    torch_kernels = script("bench_launches").TorchKernels()
    x = torch.ones(2, 3, 4, 4, requires_grad=True)
    weight = torch.ones(3, 3, 1, 1, requires_grad=True)
    with torch_kernels:
        y = torch.nn.functional.conv2d(x.view(1, 6, 4, 4).view_as(x), weight)
        y.sum().backward()
    # backward: ones, expanded without a kernel, and the gradients of input and weight
    expected = {"convolution": 1, "sum": 1, "ones_like": 1, "convolution_backward": 2}
    assert +torch_kernels.counts == expected


def test_launches_of_torch_inside_ours(script):
    """The bindings of the CPU's kernels allocate, and copy what is not contiguous."""
    bench_launches = script("bench_launches")
    weights, inputs = torch.ones(4)[::2], [torch.ones(2, 2, 4, 4) for _ in range(2)]
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu) as profiler, bench_launches.TorchKernels():
        torch.ops.adarts_ext.mixed_sum(inputs, weights)
    found = bench_launches.called_by_ours(profiler.events())
    assert +found == {"clone, called by ours": 1}


def test_launches(script, tmp_path, monkeypatch):
    """The CPU's kernels stand in for the emulator's, which the emulator's own tests count."""
    bench_launches = script("bench_launches")
    launched = Counter({"node_kernel<float>": 3, "pool_kernel<float>": 2})
    monkeypatch.setattr(bench_launches, "use_emulated_kernels", lambda: None)
    monkeypatch.setattr(
        bench_launches.library, "launches", lambda: contextlib.nullcontext(launched)
    )
    out = tmp_path / "launches.md"
    bench_launches.main(["--out", str(out), "--skip-check", "--batch", "2", *TINY])
    counted = json.loads(out.with_suffix(".json").read_text())
    plain, store = (counted[name] for name in ("plain", "ours, store"))
    assert plain["torch"]["convolution_backward"] > 100 > store["torch"]["convolution_backward"]
    assert store["together"] == 5 + sum(store["torch"].values())
    rows = table_rows(out.read_text())
    assert [row[0] for row in rows[1:4]] == list(counted)
    assert ["node_kernel<float>", "ours", "3", "3", "3"] in rows


def test_launches_that_depend_on_the_size_are_refused(script, monkeypatch):
    bench_launches = script("bench_launches")
    size = script("search_step").Size
    monkeypatch.setattr(
        bench_launches.library, "launches", lambda: contextlib.nullcontext(Counter())
    )
    monkeypatch.setattr(bench_launches, "CHECKED", (size(16, 4, 3, 16), size(17, 4, 3, 16)))
    with pytest.raises(SystemExit, match="ours, store"):
        bench_launches.check_independent("ours, store")


class CpuEvent:
    """A CUDA event that takes the CPU's steps for half a millisecond each."""

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        pass

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return 0.5


class CpuStream:
    """A CUDA stream that is always done."""

    def wait_stream(self, other):
        pass


class CpuGraph:
    """A CUDA graph that does not replay."""

    def replay(self):
        pass


@pytest.fixture
def cpu_as_gpu(monkeypatch, script):
    """Let the GPU's benchmark of the step run on the CPU."""
    monkeypatch.setattr(script("gpu_step"), "DEVICE", "cpu")
    monkeypatch.setattr(script("gpu_step"), "WARM_UP", 1)
    stubs = {
        "Event": CpuEvent,
        "CUDAGraph": CpuGraph,
        "graph": lambda graph: contextlib.nullcontext(),
        "Stream": CpuStream,
        "stream": lambda stream: contextlib.nullcontext(),
        "current_stream": CpuStream,
        "synchronize": lambda: None,
        "reset_peak_memory_stats": lambda: None,
        "memory_allocated": lambda: 100,
        "max_memory_allocated": lambda: 100 + 2**20,
        "get_device_name": lambda index: "a card",
    }
    for name, stub in stubs.items():
        monkeypatch.setattr(torch.cuda, name, stub)


@pytest.mark.usefixtures("cpu_as_gpu")
def test_gpu_step(script, tmp_path):
    options = ["--parts", "step", "--batches", "2", "--rounds", "1", "--compile-seconds", "0.01"]
    script("bench_gpu").main(["--out", str(tmp_path), *options, *TINY])
    measured = {row["arm"]: row for row in json.loads((tmp_path / "step.json").read_text())}
    gpu_step = script("gpu_step")
    assert set(measured) == {*gpu_step.IN_TURN, gpu_step.GRAPH, gpu_step.COMPILE}
    compiled = measured.pop(gpu_step.COMPILE)
    assert compiled["why"] == "not done in 0.01 s"
    for row in measured.values():
        assert row["seconds"] == [0.0005]
        assert row["peak_bytes"] == 2**20
    losses = [row["loss"] for arm, row in measured.items() if arm != gpu_step.GRAPH]
    assert max(losses) - min(losses) < 1e-2
    rows = table_rows((tmp_path / "step.md").read_text())
    assert {row[0] for row in rows} >= {*measured, gpu_step.COMPILE}
