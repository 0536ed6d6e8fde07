"""The pieces of `adarts bench`: the order of arms, what fits, comparisons, and the GPU's side."""

from __future__ import annotations

import itertools

import pytest
import torch
from build_once import use_build_once
from replay import graphs_on_the_cpu

from adarts_ext import _library
from adarts_ext.bench import fresh, timing
from adarts_ext.bench.graphed_calls import GraphedCalls
from adarts_ext.bench.groups import Options, Size
from adarts_ext.bench.operators import mixed_sum
from adarts_ext.bench.parts import fit, memory, ops, step
from adarts_ext.bench.parts.ops import draw_arguments
from adarts_ext.bench.report import compare
from adarts_ext.bench.results import Entry, Results
from adarts_ext.cli import main

pytestmark = pytest.mark.slow

GRAPH = "ours, CUDA graph"


def test_arms_take_turns_in_an_order_that_rotates():
    order, times = [], iter(range(100))

    def clock(call, calls):
        call()
        return calls * float(next(times))

    arms = {name: lambda name=name: order.append(name) for name in "abc"}
    seconds = timing.take_turns(arms, 4, clock, {"a": 1, "b": 2, "c": 3})
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert seconds["a"] == [0, 5, 7, 9]  # of one call


def test_short_calls_are_made_often_enough_to_be_timed():
    counted = []

    def clock(call, calls):
        counted.append(calls)
        return 0.001 * calls

    timing.interleave({"a": lambda: None}, 2, clock, seconds_per_round=0.02)
    assert counted == [1, 20, 20]


@pytest.mark.parametrize("bound", [16, 31, 32, 100, 1000, 10**9])
def test_the_largest_batch_is_the_last_multiple_of_16_that_fits(bound):
    tried = []
    found = fit.largest_batch(lambda n: tried.append(n) or n <= bound, most=2**12)
    assert found == min(bound // 16 * 16, 2**12)
    assert max(tried) <= 2**12
    assert len(tried) <= 20


def test_nothing_fits():
    assert fit.largest_batch(lambda n: False) == 0
    assert fit.search_by_prediction(lambda n: {"peak_bytes": 10**6}, 10.0) == (0, {})


def test_a_prediction_that_was_too_low_is_corrected():
    """Memory that grows faster than two small batches show is measured again, and kept below."""
    measured = []

    def planted(batch):
        measured.append(batch)
        return {"peak_bytes": 100 * batch + batch**2 / 10, "seconds": 1.0}

    batch, cost = fit.search_by_prediction(planted, 200_000.0)
    assert 100_000 < cost["peak_bytes"] <= 200_000
    assert measured[:2] == [32, 64]
    assert measured[2] > batch  # the first prediction


def test_on_a_gpu_batches_are_tried_until_memory_runs_out(monkeypatch):
    monkeypatch.setattr(fit.gc, "collect", lambda: None)

    def planted(batch):
        if batch > 500:
            raise torch.OutOfMemoryError
        return {"peak_bytes": 10.0 * batch, "seconds": 1.0}

    assert fit.search_by_trying(planted, 10**9)[0] == 496
    assert fit.search_by_trying(planted, 400.0)[0] == 32


def made(**seconds: float) -> Results:
    info = {"kept_bytes": 100, "date": "2026-01-01"}
    entries = [Entry("step", "a step", arm, [s, s], info) for arm, s in seconds.items()]
    return Results({}, entries, [])


def test_changes_beyond_ten_percent_are_flagged():
    changes = compare.compare(made(a=1.0, b=1.0, c=1.0), made(a=1.12, b=1.08, c=0.5, d=1.0))
    assert [(c.entry, c.what) for c in compare.regressions(changes)] == [("a step: a", "time")]
    assert [c.entry for c in compare.improvements(changes)] == ["a step: c"]
    assert len(changes) == 6  # times and bytes of the three that both have


def test_nothing_in_common():
    with pytest.raises(ValueError, match="nothing that was measured now"):
        compare.compare(made(a=1.0), made(b=1.0))


def test_ratios_are_taken_within_a_round():
    one, two = (Entry("step", "a step", arm, s, {}) for arm, s in (("a", [4, 8]), ("b", [2, 2])))
    assert two.times_as_fast(one) == (3, 2, 4)
    alone = Entry("step", "a step", "c", [1, 1], {"alone": True})
    assert alone.times_as_fast(one) is None


def test_a_fresh_process_that_fails_says_why():
    with pytest.raises(ChildProcessError, match="JSONDecodeError"):
        fresh.call(fresh.main, "json", "loads", '["{"]')


class CpuEvent:
    """A CUDA event that takes the CPU's work for half a millisecond."""

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        pass

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return 0.5


@pytest.fixture
def cpu_as_gpu(monkeypatch):
    """Let what asks for CUDA run on the CPU."""
    stubs = {
        "Event": CpuEvent,
        "synchronize": lambda: None,
        "reset_peak_memory_stats": lambda: None,
        "memory_allocated": lambda: 100,
        "max_memory_allocated": lambda: 100 + 2**20,
    }
    for name, stub in stubs.items():
        monkeypatch.setattr(torch.cuda, name, stub)


@pytest.mark.usefixtures("cpu_as_gpu")
def test_gpu_clock_and_memory():
    calls = []
    assert timing.stopwatch("cuda")(lambda: calls.append(1), 3) == 0.0005
    assert len(calls) == 3
    assert memory.peak_allocated(lambda: calls.append(1)) == 2**20


def test_the_step_as_a_graph_makes_the_same_steps(monkeypatch):
    use_build_once(monkeypatch)
    monkeypatch.setattr("adarts_ext.cuda_graph.WARM_UP", 1)
    arms = ("ours, store", GRAPH)
    with graphs_on_the_cpu():
        found = step.measure_in_turn(arms, Size(2, 8, 3, 16), "float32", "cpu", 2)
    assert [len(found[name].seconds) for name in arms] == [2, 2]
    assert found[GRAPH].info["loss"] == found["ours, store"].info["loss"]


def test_on_a_gpu_the_graph_is_an_arm():
    options = Options("cuda", 1, 2, (64, 256), 16, 8, 32, 0.0, None)
    groups = list(step.groups(options))
    assert [group.name for group in groups][::2] == [
        "search step, N=64, float32",
        "search step, N=256, float32",
    ]
    assert all(set(step.GRAPHED) < set(group.arms) for group in groups)


@pytest.mark.usefixtures("cpu_as_gpu")
def test_calls_in_a_graph_are_arms_of_an_operator(monkeypatch):
    made = []

    def graphed(make, count):
        made.append(make())
        assert count == ops.CALLS
        return made[-1]

    monkeypatch.setattr(ops, "draw_arguments", lambda *given: draw_arguments(*given[:2], "cpu"))
    monkeypatch.setattr(ops, "GraphedCalls", graphed)
    monkeypatch.setattr(ops, "interleave", lambda calls, *_: {arm: [1.0, 2.0] for arm in calls})
    options = Options("cuda", 1, 2, (64,), 16, 8, 32, 0.0, None)
    found = ops.measure(mixed_sum, (2, 8, 4, 4), "backward", options, ops.Compiler(0.0))
    assert [call.__name__ for call in made] == ["backward", "backward"]
    for arm, one in found.items():
        if arm == ops.COMPILED:
            assert "0 s for torch.compile are used up" in one.missing
        else:
            assert one.seconds == ([0.05, 0.1] if arm in ops.GRAPHED else [1.0, 2.0])


def test_all_calls_are_captured_after_as_many_to_warm_up():
    total, calls = torch.zeros(()), []
    with graphs_on_the_cpu():
        graphed = GraphedCalls(lambda: lambda: calls.append(total.add_(1)), 3)
    assert len(calls) == 6
    replays = [graphed() or total.item() for _ in range(3)]
    assert [after - before for before, after in itertools.pairwise(replays)] == [3.0, 3.0]
    assert len(calls) == 6  # Python calls nothing any more


def test_both_passes_of_a_shape_are_compiled_at_once(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: compiled.append(1) or function)
    compiler = ops.Compiler()
    arguments = ops.draw_arguments(mixed_sum, (2, 8, 4, 4), "cpu")
    one, two = (compiler.passes(mixed_sum.plain, (2, 8, 4, 4), arguments) for _ in range(2))
    assert one is two
    other = compiler.passes(mixed_sum.plain, (2, 8, 8, 4), arguments)
    assert other is not one
    assert len(compiled) == 2


def test_an_arm_that_fails_leaves_the_others(monkeypatch):
    use_build_once(monkeypatch)
    prepare = step.prepare

    def failing(name, *arguments):
        if name != "ours, store":
            raise {"plain": torch.OutOfMemoryError, "frozen": ValueError}[name]
        return prepare(name, *arguments)

    monkeypatch.setattr(step, "prepare", failing)
    names = ("plain", "frozen", "ours, store")
    found = step.measure_in_turn(names, Size(2, 8, 3, 16), "float32", "cpu", 1)
    missing = {name: one.missing for name, one in found.items()}
    assert missing == {"plain": "out of memory", "frozen": "failed: ValueError", "ours, store": ""}
    assert len(found["ours, store"].seconds) == 1


def test_plain_torch_is_not_measured_as_ours(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(_library, "cuda_error", "_cuda.so was not built")
    for device in ([], ["--device", "cuda"]):
        assert main(["bench", "--out", str(tmp_path), *device]) == 1
        message = "device: cuda has none of our kernels: _cuda.so was not built\n"
        assert capsys.readouterr().err.endswith(message)
    assert not list(tmp_path.iterdir())
