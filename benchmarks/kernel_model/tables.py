"""The tables of the report: a search step, its kernels, their loops."""

from __future__ import annotations

from collections import Counter

from adarts_ext.bench.report.markdown import table

from .card import TORCH_KERNEL, Card
from .cubin import Kernel
from .predict import Prediction
from .step import Predicted, total

MIB = 2**20
Some = list[tuple[int, Prediction]]  # kinds of launches of a kernel, with their counts

LARGEST = 5


def us(seconds: float) -> str:
    return f"{1e6 * seconds:.0f}"


def ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}"


def term(some: Some, name: str) -> float:
    """Add up one term of a kernel's launches."""
    return sum(count * one.terms[name] for count, one in some)


def terms_of(step: Predicted) -> Counter[str]:
    """Divide the whole time: gaps, chains, and of each launch the longest of the other terms."""
    parts: Counter[str] = Counter()
    for kind, one in step.kinds.items():
        count = step.counts[kind]
        parts["launch gaps"] += count * one.gap
        parts["chains"] += count * one.chain
        parts[one.bound] += count * one.work
    return parts


def whole_row(card: Card, batch: int, precision: str, step: Predicted, torchs: int) -> list[object]:
    """Say what a search step should take; ``torchs`` are the launches of torch's kernels."""
    ours, least = step.seconds(), step.seconds("least")
    row = [card.name, batch, precision, step.launches, torchs, ms(step.seconds("gap"))]
    row += [ms(step.seconds("chain")), ms(step.seconds("work")), ms(least), ms(ours)]
    return [*row, ms(torchs * (card.launch_gap + TORCH_KERNEL))]


WHOLE = (
    *("card", "N", "precision", "our launches", "torch's", "gaps", "chains", "work"),
    *("at least", "ours, ms", "torch's, ms"),
)


def largest(step: Predicted) -> list[str]:
    """Name the largest terms of the step, and its longest kernels with theirs."""
    whole = step.seconds()
    terms = terms_of(step).most_common(LARGEST)
    text = ", ".join(f"{name} {ms(time)} ms ({time / whole:.0%})" for name, time in terms)
    lines = [f"The largest terms: {text}. The longest kernels:", ""]
    rows = []
    for name, some in list(step.by_kernel().items())[:LARGEST]:
        bound = Counter()
        for count, one in some:
            bound[one.bound] += count * one.work
        works = ", ".join(f"{term} {ms(time)}" for term, time in bound.most_common(2))
        time = total(some)
        rows.append(
            [
                f"`{name}`",
                sum(count for count, _ in some),
                ms(time),
                f"{time / whole:.0%}",
                ms(total(some, "least")),
                ms(total(some, "chain")),
                works,
            ]
        )
    columns = ("kernel", "launches", "ms", "of the step", "at least", "chain", "work, by what")
    return [*lines, *table(columns, rows)]


_TERMS = ("issue", "FMA", "IMAD", "ALU", "XU", "FP64", "LSU", "L2", "DRAM")


def kernel_table(step: Predicted, kernels: dict[str, Kernel]) -> list[str]:
    """One row a kernel: its times in microseconds a step, the longest first."""
    rows = []
    for name, some in step.by_kernel().items():
        count = sum(count for count, _ in some)
        waves = [one.waves for _, one in some]
        rows.append(
            [
                f"`{name}`",
                count,
                kernels[name].registers,
                some[0][1].resident,
                f"{min(waves):.1f} to {max(waves):.1f}",
                us(total(some)),
                us(total(some, "least")),
                us(total(some, "chain")),
                *(us(term(some, name)) for name in _TERMS),
            ]
        )
    columns = ("kernel", "launches", "registers", "blocks an SM", "waves", "us", "at least")
    return table((*columns, "chain", *_TERMS), rows)


def memory_table(step: Predicted) -> list[str]:
    """One row a kernel: what it moves a step, in MiB."""
    rows = []
    for name, some in step.by_kernel().items():
        requested, read, unique, written = (
            total(some, what) / MIB for what in ("requested", "read", "unique", "written")
        )
        rows.append(
            [
                f"`{name}`",
                *(f"{one:.0f}" for one in (requested, read, unique, written)),
                f"{requested / max(read, 1e-9):.1f}",
                f"{read / max(unique, 1e-9):.1f}",
                f"{total(some, 'conflicts') / 1e3:.0f}",
            ]
        )
    columns = ("kernel", "asked of L1", "read from L2", "different bytes", "written")
    return table((*columns, "L1 / L2", "L2 / different", "conflicts, thousands"), rows)


def loop_table(step: Predicted, kernels: dict[str, Kernel]) -> list[str]:
    """One row a kernel: its hottest innermost loop, in instructions an iteration of a warp."""
    rows = []
    for name, some in step.by_kernel().items():
        one = max(some, key=lambda pair: pair[1].seconds)[1]
        loop, code = one.hot_loop, kernels[name]
        row = [f"`{name}`", len(code.code), f"{code.code_bytes / 1024:.0f}", f"{one.threads:.0f}"]
        if loop is None:
            rows.append([*row, "-", "", "", ""])
            continue
        pipes = sorted(loop.by_pipe.items(), key=lambda item: -item[1])
        text = ", ".join(f"{pipe} {count:.0f}" for pipe, count in pipes if count >= 0.5)
        rows.append(
            [*row, f"{loop.address:#x}", f"{loop.share:.0%}", f"{loop.instructions:.0f}", text]
        )
    columns = ("kernel", "instructions", "KiB", "threads", "loop at", "of all issued")
    return table((*columns, "an iteration", "by pipe"), rows)


def rows_of(card: Card, batch: int, precision: str, step: Predicted) -> list[dict[str, object]]:
    """Give the same as rows: one for each kernel."""
    return [
        {
            "card": card.name,
            "architecture": card.architecture,
            "batch": batch,
            "precision": precision,
            "kernel": name,
            "launches": sum(count for count, _ in some),
            "us": round(1e6 * total(some), 1),
            "least_us": round(1e6 * total(some, "least"), 1),
            "chain_us": round(1e6 * total(some, "chain"), 1),
            **{f"{t}_us": round(1e6 * term(some, t), 1) for t in some[0][1].terms},
        }
        for name, some in step.by_kernel().items()
    ]
