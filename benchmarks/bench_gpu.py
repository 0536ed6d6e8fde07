"""The search step and every operator on a GPU, against plain torch and torch.compile.

    python benchmarks/bench_gpu.py --out FOLDER [--parts step ops]

``step`` is one whole search step of the supernet, see gpu_step.py: some two minutes, and for each
batch size at the most the time given to torch.compile. ``ops`` are the operators, forward and
backward, within ``--seconds``. Each part alone fits into ten minutes.

Of the operators, times are CUDA events around runs of calls, medians over rounds, the arms in turn.
The buffers rotate over more memory than the L2 cache holds. Bandwidth is that of the fewest bytes a
pass must move, as a part of what a device-to-device copy reaches on the same card in the same
process.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import time
from datetime import date
from pathlib import Path

import torch
from bench_ops import OPERATORS, PROPORTION, SHAPES
from gpu_step import measure_all, step_table
from search_step import Size, add_size_options

BATCHES = (64, 256)
LARGE = (64, 64, 128)  # batch, channels, size: far beyond the L2 cache
CALLS = 20


def events(call, rounds: int) -> list[float]:
    """Seconds of one call in every round."""
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(CALLS):
            call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3 / CALLS)
    return times


def copy_bandwidth() -> float:
    """Bytes per second, read and written, of a copy of 1 GiB."""
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * source.nbytes / statistics.median(events(lambda: target.copy_(source), 5))


class Rotation:
    """Calls of a function on sets of arguments in turn, more than the L2 cache holds."""

    def __init__(self, module, shape, count):
        self.sets = [
            [a.cuda() if isinstance(a, torch.Tensor) else a for a in module.arguments(*shape)]
            for _ in range(count)
        ]
        for arguments in self.sets:
            for a in arguments:
                if isinstance(a, torch.Tensor) and a.is_floating_point():
                    a.requires_grad_()
        self.turn = 0

    def next(self):
        self.turn = (self.turn + 1) % len(self.sets)
        return self.sets[self.turn]


def passes(function, rotation):
    """The forward pass alone, and the backward pass alone where there is one."""
    outputs = [function(*arguments) for arguments in rotation.sets]
    calls = {"forward": lambda: function(*rotation.next())}
    if outputs[0].requires_grad:
        grads = [torch.randn_like(out) for out in outputs]
        needed = [
            [a for a in arguments if isinstance(a, torch.Tensor) and a.requires_grad]
            for arguments in rotation.sets
        ]

        def backward():
            rotation.next()
            turn = rotation.turn
            torch.autograd.grad(outputs[turn], needed[turn], grads[turn], retain_graph=True)

        calls["backward"] = backward
    return calls


def measure(deadline: float, copied: float) -> list[dict]:
    """Measure until done, or until the deadline has passed."""
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    rows = []
    shapes = [(n, c, s, PROPORTION) for n in BATCHES for c, s in SHAPES] + [(*LARGE, PROPORTION)]
    for name in OPERATORS:
        module = importlib.import_module(f"bench_{name}")
        for shape in shapes:
            if time.monotonic() > deadline:
                return rows
            moved = module.bytes_moved(*shape)
            count = min(64, max(2, -(-2 * l2 // moved[0])))
            rotation = Rotation(module, shape, count)
            torch.compiler.reset()  # each shape gets code of its own, as fast as it can be
            arms = {
                "plain": passes(module.plain, rotation),
                "compile": passes(torch.compile(module.plain, dynamic=False), rotation),
                "ours": passes(module.fused, rotation),
            }
            for index, label in enumerate(arms["ours"]):
                for arm in arms.values():
                    events(arm[label], 1)
                times = {arm: [] for arm in arms}
                for _ in range(9):
                    for arm, calls in arms.items():
                        times[arm] += events(calls[label], 1)
                middle = {arm: statistics.median(all_) for arm, all_ in times.items()}
                rows.append(
                    {
                        "operator": name,
                        "shape": shape,
                        "pass": label,
                        **{f"{arm}_us": 1e6 * t for arm, t in middle.items()},
                        "range_us": [1e6 * min(times["ours"]), 1e6 * max(times["ours"])],
                        "over_plain": middle["plain"] / middle["ours"],
                        "over_compile": middle["compile"] / middle["ours"],
                        "of_copy_bandwidth": moved[index] / middle["ours"] / copied,
                    }
                )
                print(json.dumps(rows[-1]), flush=True)
    return rows


def card() -> str:
    """The line that says on what was measured, and when."""
    name = torch.cuda.get_device_name(0)
    return f"{name}, torch {torch.__version__}, {date.today()}; float32"


def table(rows: list[dict], copied: float) -> str:
    """The rows as Markdown."""
    lines = [
        f"{card()}; copy {copied / 1e12:.2f} TB/s",
        "",
        "| operator | N, C, H=W, K | pass | plain, us | compile, us | ours, us | range | x plain | "
        "x compile | of copy |",
        "|---|---|---|---:|---:|---:|---|---:|---:|---:|",
    ]
    for r in rows:
        lines.append(
            f"| {r['operator']} | {', '.join(map(str, r['shape']))} | {r['pass']} | "
            f"{r['plain_us']:.1f} | {r['compile_us']:.1f} | {r['ours_us']:.1f} | "
            f"{r['range_us'][0]:.1f} to {r['range_us'][1]:.1f} | {r['over_plain']:.2f} | "
            f"{r['over_compile']:.2f} | {r['of_copy_bandwidth']:.0%} |"
        )
    return "\n".join(lines) + "\n"


def run_ops(out: Path, seconds: float) -> None:
    """Measure the operators; write the table and the raw rows."""
    copied = copy_bandwidth()
    rows = measure(time.monotonic() + seconds, copied)
    (out / "ops.json").write_text(json.dumps(rows, indent=1))
    (out / "ops.md").write_text(table(rows, copied))
    print(table(rows, copied))


def run_step(out: Path, sizes: list[Size], rounds: int, compile_seconds: float) -> None:
    """Measure the search step; write the table and the raw rows."""
    rows = measure_all(sizes, rounds, compile_seconds)
    text = step_table(rows, card())
    (out / "step.json").write_text(json.dumps(rows, indent=1))
    (out / "step.md").write_text(text)
    print(text)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the tables and the raw rows into a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=("step", "ops"), default=["step", "ops"])
    parser.add_argument("--seconds", type=float, default=400, help="for the operators")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="of the step")
    parser.add_argument("--rounds", type=int, default=9, help="of the step")
    parser.add_argument(
        "--compile-seconds", type=float, default=180, help="for torch.compile of the step"
    )
    add_size_options(parser)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if "step" in options.parts:
        sizes = [
            Size(batch, options.init_channels, options.layers, options.size)
            for batch in options.batches
        ]
        run_step(options.out, sizes, options.rounds, options.compile_seconds)
    if "ops" in options.parts:
        run_ops(options.out, options.seconds)


if __name__ == "__main__":
    main()
