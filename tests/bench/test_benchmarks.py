"""The scripts of benchmarks/ at tiny sizes: they run, and their tables hold what they say."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections import Counter
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
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


def test_step_profile(script, tmp_path):
    out = tmp_path / "profile.md"
    script("step_profile").main(["--out", str(out), "--batches", "2", "--steps", "1", *TINY])
    seconds = json.loads(out.with_suffix(".json").read_text())["2"]
    parts = {"search_cell", "search_cell_backward", "preprocess_cell", "stem", "optimisers"}
    assert parts <= set(seconds)
    whole = seconds.pop("whole step")
    del seconds["whole step, without the profiler"]
    assert sum(seconds.values()) == pytest.approx(whole)


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
    size = bench_launches.Size
    monkeypatch.setattr(
        bench_launches.library, "launches", lambda: contextlib.nullcontext(Counter())
    )
    monkeypatch.setattr(bench_launches, "CHECKED", (size(16, 4, 3, 16), size(17, 4, 3, 16)))
    with pytest.raises(SystemExit, match="ours, store"):
        bench_launches.check_independent("ours, store")
