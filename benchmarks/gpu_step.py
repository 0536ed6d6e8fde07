"""One whole search step on a GPU; a part of bench_gpu.py.

The step is that of search_step.py, in float32: eager as the method's authors released it,
channels_last, frozen (each half computes only the gradients it uses), frozen under torch.compile,
and ours, also as one CUDA graph of both halves with their optimisers. All arms begin with the same
weights and see the same batches, so that their losses can be compared. Times are CUDA events around
a step, the arms in turn; memory is the peak over a step beyond what lies allocated before it.
cuDNN chooses its convolutions by trying them, and may use TF32, as torch lets it.

torch.compile may not finish in any time one would wait, so it runs in a process of its own, after
the others, and is stopped at a limit.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
from dataclasses import astuple

import torch
from report import table
from search_step import ARMS, SearchStep, Size

DEVICE = "cuda"
WARM_UP = 3  # steps
GRAPH = "ours, CUDA graph"
COMPILE = "torch.compile, frozen"
IN_TURN = ("plain", "channels_last", "frozen", "ours, store", "ours, recompute")
#: What the issue that asked for the fused cells wanted: arm, compared with, measure, factor.
TARGETS = (
    (GRAPH, "plain", "seconds", 15.0),
    (GRAPH, COMPILE, "seconds", 4.0),
    ("ours, store", "plain", "peak_bytes", 4.5),
    ("ours, recompute", "plain", "peak_bytes", 9.0),
)
TARGET_BATCH = 64


class GraphedStep:
    """A search step captured once and replayed: one launch for all its kernels.

    The graph reads its batches from, and writes its gradients and statistics to, memory that stays
    where it is. So the batches are copied to one place; the optimisers have their state before the
    capture, and no gradients, which then come from the graph's own memory and are made anew by
    every replay. BatchNorm's running statistics are updated in place.
    """

    def __init__(self, step: SearchStep) -> None:
        self.step = step
        self.batches = [tuple(part.clone() for part in batch) for batch in step.next_batches()]
        step.steps = 0
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._load()
                step.step(*self.batches)
        torch.cuda.current_stream().wait_stream(stream)

    def capture(self) -> None:
        """Record a step, without making it."""
        step = self.step
        step.weight_optimizer.zero_grad()
        step.arch_optimizer.zero_grad()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            step.step(*self.batches)

    @property
    def loss(self) -> torch.Tensor:
        """That of the last replay."""
        return self.step.loss

    def __call__(self) -> None:
        self._load()
        self.graph.replay()

    def _load(self) -> None:
        for place, batch in zip(self.batches, self.step.next_batches(), strict=True):
            for to, values in zip(place, batch, strict=True):
                to.copy_(values)


def peak_bytes(call) -> int:
    """Bytes allocated at the most during a call, beyond those before it."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def seconds_of(step) -> float:
    """Seconds of a step."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    step()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def measure(size: Size, rounds: int) -> list[dict]:
    """Measure all arms but torch.compile."""
    torch.backends.cudnn.benchmark = True
    steps, peaks = {}, {}
    for name in IN_TURN:
        steps[name] = step = SearchStep(ARMS[name], size, DEVICE)
        for _ in range(WARM_UP - 1):
            step()
        peaks[name] = peak_bytes(step)
    steps[GRAPH] = graphed = GraphedStep(SearchStep(ARMS["ours, store"], size, DEVICE))
    peaks[GRAPH] = peak_bytes(graphed.capture)
    seconds = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            seconds[name].append(seconds_of(step))
    return [
        row(name, size, seconds[name], peaks[name], step.loss.item())
        for name, step in steps.items()
    ]


def row(arm: str, size: Size, seconds: list[float], peak: int, loss: float) -> dict:
    """What was measured of an arm."""
    return {
        "arm": arm,
        "batch": size.batch,
        "seconds": seconds,
        "peak_bytes": peak,
        "loss": loss,
    }


def measure_compiled(size: Size, rounds: int) -> dict:
    """Compile the plain network and measure it."""
    torch.backends.cudnn.benchmark = True
    step = SearchStep(ARMS["frozen"], size, DEVICE)
    step.network.compile(dynamic=False)
    for _ in range(WARM_UP - 1):
        step()
    peak = peak_bytes(step)
    seconds = [seconds_of(step) for _ in range(rounds)]
    return row(COMPILE, size, seconds, peak, step.loss.item())


def measure_compiled_within(limit: float, size: Size, rounds: int) -> dict:
    """The same in a process of its own; without seconds where it is not done at the limit."""
    nothing = {"arm": COMPILE, "batch": size.batch, "seconds": []}
    process = subprocess.Popen(
        [sys.executable, __file__, json.dumps([astuple(size), rounds])],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that the compiler's workers end with it
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {**nothing, "why": f"not done in {limit:g} s"}
    if process.returncode != 0:
        return {**nothing, "why": "failed"}
    return json.loads(output.splitlines()[-1])


def measure_all(sizes: list[Size], rounds: int, compile_seconds: float) -> list[dict]:
    """Measure all arms at all sizes; what torch.compile does not manage has no seconds."""
    rows = []
    for size in sizes:
        rows += measure(size, rounds)
    for size in sizes:
        rows.append(measure_compiled_within(compile_seconds, size, rounds))
        if not rows[-1]["seconds"]:
            break  # another batch is compiled no faster
    return rows


def step_table(rows: list[dict], head: str) -> str:
    """The rows, and what was asked for, as Markdown."""
    plain = {r["batch"]: r for r in rows if r["arm"] == "plain"}
    made = []
    for r in sorted(rows, key=lambda r: r["batch"]):
        if not r["seconds"]:
            made.append([r["arm"], r["batch"], r["why"], *[""] * 4])
            continue
        middle, base = statistics.median(r["seconds"]), plain[r["batch"]]
        low, high = min(r["seconds"]), max(r["seconds"])
        made.append(
            [
                r["arm"],
                r["batch"],
                f"{1e3 * middle:.2f} ({1e3 * low:.2f} to {1e3 * high:.2f})",
                f"{statistics.median(base['seconds']) / middle:.2f}x",
                f"{r['peak_bytes'] / 2**20:.0f}",
                f"{base['peak_bytes'] / max(1, r['peak_bytes']):.2f}x",
                f"{r['loss']:.4f}",
            ]
        )
    columns = [
        "arm",
        "N",
        "ms a step",
        "times as fast as plain",
        "peak, MiB",
        "less than plain",
        "loss",
    ]
    lines = [head, "", *table(columns, made), "", *asked_for(rows)]
    return "\n".join(lines) + "\n"


def asked_for(rows: list[dict]) -> list[str]:
    """What was asked for, and what was measured of it."""
    at = {r["arm"]: r for r in rows if r["batch"] == TARGET_BATCH and r["seconds"]}
    made = []
    for arm, other, measured, factor in TARGETS:
        got = "not measured"
        if arm in at and other in at:
            one, two = (
                statistics.median(at[name][measured])
                if measured == "seconds"
                else max(1, at[name][measured])
                for name in (arm, other)
            )
            got = f"{two / one:.2f}x"
        what = "as fast" if measured == "seconds" else "less memory at the peak"
        made.append([f"{arm} over {other}, {what}", f"{factor:g}x", got])
    return table([f"N={TARGET_BATCH}", "asked for", "measured"], made)


def main(arguments: list[str] | None = None) -> None:
    """Measure torch.compile alone: what :func:`measure_compiled_within` starts."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("asked", help="JSON: the fields of the size, and the rounds")
    fields, rounds = json.loads(parser.parse_args(arguments).asked)
    print(json.dumps(measure_compiled(Size(*fields), rounds)))


if __name__ == "__main__":
    main()
