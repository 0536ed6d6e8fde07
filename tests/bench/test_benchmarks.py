"""benchmarks/ at tiny sizes: the scripts' tables hold what they say, and pytest-benchmark runs."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from build_once import build_once, use_build_once
from operators import OPERATORS
from torch.autograd import DeviceType
from torch.autograd.profiler_util import Interval

from adarts_ext.bench.rows import read_rows

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPTS = BENCHMARKS / "scripts"
TINY = ["--init-channels", "8", "--layers", "3", "--size", "16"]


@pytest.fixture
def script(monkeypatch):
    """Import a script as it is when it is run: with its folder first on the path."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    threads = torch.get_num_threads()
    yield importlib.import_module
    torch.set_num_threads(threads)


def table_rows(text: str) -> list[list[str]]:
    """The cells of all table rows in a Markdown text, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_step_profile(script, tmp_path, monkeypatch):
    use_build_once(monkeypatch)
    out = tmp_path / "profile.md"
    script("step_profile").main(["--out", str(out), "--batches", "2", "--steps", "1", *TINY])
    rows = read_rows(out.with_suffix(".jsonl"))
    assert {row["batch"] for row in rows} == {2}
    seconds = {row["part"]: row["seconds"] for row in rows}
    parts = {"search_cell", "search_cell_backward", "preprocess_cell", "stem", "optimisers"}
    assert parts <= set(seconds)
    whole = seconds.pop("whole step")
    del seconds["whole step, without the profiler"]
    assert sum(seconds.values()) == pytest.approx(whole)


def with_two_nodes(monkeypatch, module, name: str) -> None:
    """Have a script make networks of two nodes a cell, or options of such."""
    monkeypatch.setattr(module, name, functools.partial(getattr(module, name), steps=2))


def test_left_out(script, tmp_path, monkeypatch):
    out = tmp_path / "left_out.md"
    left_out = script("left_out")
    with_two_nodes(monkeypatch, left_out, "SearchNetwork")
    left_out.main(["--out", str(out), "--batch", "2", "--rounds", "1", *TINY])
    rows = read_rows(out.with_suffix(".jsonl"))
    for network in ("ADARTS, fused", "DARTS, fused"):
        kept = {row["candidates"]: row["kept"] for row in rows if row["arm"] == network}
        assert kept["none"] < kept["one"] < kept["three"] < kept["all eight"]
    assert all(min(row["seconds"]) > 0 for row in rows)


class Ran:
    """An event of torch's profiler: a kernel that took 10 us."""

    def __init__(self, name, device_type=DeviceType.CUDA):
        self.name, self.device_type = name, device_type
        self.time_range = Interval(0, 10)


def test_profile_of_kernels(script):
    """What ran is planted; the predictions are those that are written down."""
    profile = script("profile_kernels")
    node = "void adarts::cuda::(anonymous namespace)::node_kernel<float>(Node<float>)"
    events = [Ran(node)] * 8 + [Ran("sgemm")] * 4 + [Ran(node, DeviceType.CPU)]
    measured = profile.by_kernel(events, steps=4)
    assert measured == {"node_kernel": (2, 20), "(torch)": (1, 10)}
    expected = profile.predicted(64, "sm_90")
    rows = table_rows("\n".join(profile.lines_of(measured, expected, {"eager": 0.01})))
    count, work = expected["node_kernel"]
    assert ["eager", "10.00"] in rows
    assert rows[-2][:5] == ["`node_kernel`", "2", "20.0", f"{count:.0f}", f"{work:.1f}"]
    assert rows[-2][5] == f"{20 / work:.2f}"
    assert rows[-1] == ["`(torch)`", "1", "10.0", "", "", ""]


def test_predictions_of_kernels_add_up_to_those_of_the_step(script):
    found = script("profile_kernels").predicted(64, "sm_90")
    rows = table_rows((BENCHMARKS / "results" / "predictions.md").read_text())
    (row,) = (row for row in rows if row[:3] == ["H100 SXM", "64", "float32"])
    assert sum(count for count, _ in found.values()) == int(row[3])
    assert sum(us for _, us in found.values()) == pytest.approx(1e3 * float(row[9]), abs=10)
    assert script("profile_kernels").predicted(64, "sm_75") == {}, "nothing is predicted there"


def test_convergence(script, tmp_path, monkeypatch):
    compare_convergence = script("compare_convergence")
    with_two_nodes(monkeypatch, compare_convergence, "SearchConfig")
    tiny = ["--steps", "1", "--seeds", "3", "--batch", "4", "--init-channels", "8", "--layers", "3"]
    compare_convergence.main(["--out", str(tmp_path), *tiny])
    found = read_rows(tmp_path / "convergence.jsonl")
    assert {row["seed"] for row in found} == {3}
    runs = ("fused", "two threads", "fused, bf16", "reference, bf16")
    assert {row["run"] for row in found} == {"reference", *runs}
    for loss in ("training", "validation"):
        losses = {row["run"]: row["values"] for row in found if row["what"] == loss}
        assert [len(of_run) for of_run in losses.values()] == [1] * 5
        exact = [of_run[0] for run, of_run in losses.items() if "bf16" not in run]
        assert max(exact) - min(exact) < 1e-3, exact  # from the same weights, on the same batch
        assert losses["reference, bf16"] != losses["reference"]
    rows = table_rows((tmp_path / "convergence.md").read_text())
    assert [row[0] for row in rows[1:]] == [f"{run} and reference" for run in runs]
    assert (tmp_path / "convergence.png").stat().st_size > 0
    monkeypatch.setattr(compare_convergence, "plot", lambda *_: None)  # once is enough
    compare_convergence.main(["--out", str(tmp_path), *tiny, "--runs", "fused, bf16"])
    again = read_rows(tmp_path / "convergence.jsonl")
    assert again == [row for row in found if row["run"] in ("reference", "fused, bf16")]


def test_foreach_launches(script):
    foreach_launches = script("count_launches").foreach_launches
    assert foreach_launches([], 1) == 0
    assert foreach_launches([1] * 110, 1) == 1
    assert foreach_launches([1] * 111, 1) == 2
    assert foreach_launches([1] * 65, 2) == 2
    assert foreach_launches([320 * 2**16], 1) == 1
    assert foreach_launches([320 * 2**16 + 1], 1) == 2
    assert foreach_launches([320 * 2**16, 1], 1) == 2


def test_launches_of_torch(script):
    torch_kernels = script("count_launches").TorchKernels()
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
    count_launches = script("count_launches")
    weights, inputs = torch.ones(4)[::2], [torch.ones(2, 2, 4, 4) for _ in range(2)]
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu) as profiler, count_launches.TorchKernels():
        torch.ops.adarts_ext.mixed_sum(inputs, weights)
    found = count_launches.called_by_ours(profiler.events())
    assert +found == {"clone, called by ours": 1}


@pytest.fixture
def count_launches(script, monkeypatch):
    """The script, on networks that are built once."""
    module = script("count_launches")
    use_build_once(monkeypatch)
    monkeypatch.setattr(module, "build_network", build_once)
    return module


def test_launches(count_launches, tmp_path, monkeypatch):
    """The CPU's kernels stand in for the emulator's, which the emulator's own tests count."""
    launched = Counter({"node_kernel<float>": 3, "pool_kernel<float>": 2})
    monkeypatch.setattr(count_launches, "use_emulated_kernels", lambda: None)
    monkeypatch.setattr(
        count_launches.library, "launches", lambda: contextlib.nullcontext(launched)
    )
    out = tmp_path / "launches.md"
    count_launches.main(["--out", str(out), "--skip-check", "--batch", "2", *TINY])
    counted = read_rows(out.with_suffix(".jsonl"))
    (backward,) = (row for row in counted if row["kernel"] == "convolution_backward")
    assert backward["plain"] > 100 > backward["ours, store"]
    rows = table_rows(out.read_text())
    assert [row[0] for row in rows[1:4]] == ["plain", "ours, store", "ours, recompute"]
    assert rows[2][1] == "5"
    assert int(rows[2][3]) == sum(row["ours, store"] for row in counted)
    assert ["node_kernel<float>", "ours", "3", "3", "3"] in rows


def test_launches_that_depend_on_the_size_are_refused(count_launches, monkeypatch):
    size = count_launches.Size
    monkeypatch.setattr(
        count_launches.library, "launches", lambda: contextlib.nullcontext(Counter())
    )
    monkeypatch.setattr(count_launches, "CHECKED", (size(16, 4, 3, 16), size(17, 4, 3, 16)))
    with pytest.raises(SystemExit, match="ours, store"):
        count_launches.check_independent("ours, store")


def pytest_benchmarks(folder: Path, *options: str) -> str:
    """Run `pytest benchmarks` in a process of its own, and give what it prints."""
    tiny = ["--batch", "2", "--init-channels", "8", "--layers", "3", "--image-size", "16"]
    quick = ["--benchmark-max-time", "0", "--benchmark-min-rounds", "2", "-p", "no:cacheprovider"]
    stored = ["--benchmark-storage", str(folder)]
    command = [sys.executable, "-m", "pytest", *tiny, *quick, *stored, *options]
    # pytest-benchmark measures nothing where it takes itself for a worker of pytest-xdist.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}
    made = subprocess.run(
        command,
        cwd=BENCHMARKS.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Where a run of the benchmarks of two operators and of networks was saved, and its text."""
    folder = tmp_path_factory.mktemp("stored")
    names = ("mixed_sum", "preprocess_cell", "search_cell", "search_step", "memory")
    chosen = [f"benchmarks/bench_{name}.py" for name in names]
    networks = "store and not bfloat16 and not drop-in"
    chosen += ["-k", f"16x16 or {networks}", "--benchmark-autosave"]
    return folder, pytest_benchmarks(folder, *chosen)


def saved_in(folder: Path) -> list[dict]:
    """What was measured in the only run that was saved."""
    (saved,) = folder.rglob("*.json")
    return json.loads(saved.read_text())["benchmarks"]


def test_pytest_benchmark_shows_arms_side_by_side_and_compares_with_earlier(stored):
    folder, text = stored
    assert "benchmark 'mixed_sum, 2x8x16x16, forward': 2 tests" in text
    assert "benchmark 'preprocess_cell, stride 2, 2x8x16x16, backward': 2 tests" in text
    arms = [one["params"]["arm"] for one in saved_in(folder) if "2x8x16x16, " in one["group"]]
    assert arms == ["plain", "ours"] * 6  # torch.compile only where it is asked for
    chosen = ["benchmarks/bench_mixed_sum.py", "-k", "16x16"]
    text = pytest_benchmarks(folder, *chosen, "--benchmark-compare")
    assert "benchmark 'mixed_sum, 2x8x16x16, forward': 4 tests" in text


def test_pytest_benchmark_times_cells_steps_and_memory(stored):
    found = {one["group"]: one["extra_info"] for one in saved_in(stored[0])}
    assert [group for group in found if "sum" not in group and "preprocess" not in group] == [
        "normal cell, 2x8x16x16",
        "reduction cell, 2x16x16x16",
        "reduction cell, 2x32x8x8",
        "search step, N=2, float32",
        "memory, N=2",
    ]
    memory = found["memory, N=2"]
    assert memory["peak_bytes"] > memory["kept_bytes"] > 0
    assert found["normal cell, 2x8x16x16"]["kept_bytes"] > 0


def test_every_operator_has_a_benchmark_of_its_name():
    for name in OPERATORS:
        text = (BENCHMARKS / f"bench_{name}.py").read_text()
        assert f"def test_{name}(" in text
