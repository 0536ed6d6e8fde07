"""What the reports of all kinds of runs have in common."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from adarts_ext.cli.numbers import describe_time
from adarts_ext.draw.cell import single_cell_figure
from adarts_ext.draw.lines import FIRST, SECOND, Look, source_look
from adarts_ext.draw.panels import curve_figure, time_figure
from adarts_ext.genotype import Genotype
from adarts_ext.nn.own_candidates import candidate_options
from adarts_ext.report.options import options_table, show
from adarts_ext.report.page import Picture, Pictures, Section, Table, Text
from adarts_ext.report.record import RunRecord
from adarts_ext.runs.clock import sum_up_times
from adarts_ext.runs.options import GIVEN, RunConfig
from adarts_ext.search.config import SearchConfig
from adarts_ext.strategies.choice import is_own, parse_strategy

CELLS = {"normal": "normal cell", "reduce": "reduction cell"}
LEAST_RANGE = 0.1  # of losses and accuracies, below which an axis does not magnify
LEAST_PART = 0.02  # the same of other numbers, of the largest

#: Of the records' numbers, those that a report shows in places of their own.
SHOWN = {"epoch", "learning_rate", "seconds", "step_seconds", "images_per_second"}
SHOWN |= {"peak_memory_bytes", "arch_loss", "stage"}
SHOWN |= {
    f"{part}_{what}" for part in ("train", "validation", "test") for what in ("loss", "accuracy")
}
SHOWN |= {f"{what}_{cell}" for what in ("skip_connections", "poolings") for cell in CELLS}


def looks(count: int) -> list[Look]:
    """Return how so many curves of one picture look."""
    return [FIRST, SECOND] if count <= 2 else [source_look(k) for k in range(count)]


def curves(
    caption: str, values: Mapping[str, Mapping[int, float]], least: float, warmup_end: int = 0
) -> list[Picture]:
    """Draw the curves that have a value, by their names; no picture if none has."""
    there = {name: one for name, one in values.items() if one}
    if not there:
        return []
    lines = {
        name: (look, one)
        for look, (name, one) in zip(looks(len(there)), there.items(), strict=False)
    }
    if len(lines) == 1 and len(values) > 1:
        caption = f"{caption}: {next(iter(lines))}"
    return [Picture(caption, curve_figure(lines, least, warmup_end))]


def training_pictures(record: RunRecord, tested: str, warmup_end: int = 0) -> list[Picture]:
    """Draw the loss, the accuracy and the learning rate.

    Args:
        record: The run.
        tested: The part that is not trained on, ``validation`` or ``test``.
        warmup_end: The last epoch of the warm-up.
    """
    pictures = []
    for what in ("loss", "accuracy"):
        pair = {part: record.series(f"{part}_{what}") for part in ("train", tested)}
        pictures += curves(what, pair, LEAST_RANGE, warmup_end)
    rates = {"learning rate": record.series("learning_rate")}
    return pictures + curves("learning rate", rates, 1e-6, warmup_end)


def other_pictures(record: RunRecord, warmup_end: int = 0) -> list[Picture]:
    """Draw all other numbers of the records, those of the two cells together."""
    names = {
        name: None
        for entry in record.history
        for name, value in entry.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in SHOWN
    }
    grouped: dict[str, dict[str, Mapping[int, float]]] = {}
    for name in names:
        head, _, tail = name.rpartition("_")
        what, which = (head, CELLS[tail]) if tail in CELLS else (name, name)
        grouped.setdefault(what, {})[which.replace("_", " ")] = record.series(name)
    pictures = []
    for what, values in grouped.items():
        largest = max((abs(value) for one in values.values() for value in one.values()), default=0)
        pictures += curves(what.replace("_", " "), values, LEAST_PART * largest or 1, warmup_end)
    return pictures


def signs_table(record: RunRecord) -> list[Table]:
    """Make the table of the texts in the records, such as warnings, an epoch a row."""
    rows = [
        [str(entry["epoch"]), name.replace("_", " "), "; ".join(map(str, value))]
        for entry in record.history
        for name, value in entry.items()
        if isinstance(value, list) and value and all(isinstance(one, str) for one in value)
    ]
    return [Table(("epoch", "what", "sign"), rows)] if rows else []


def cell_pictures(genotype: Genotype, of: str = "") -> list[Picture]:
    """Draw the normal and the reduction cell; ``of`` begins what is said of them."""
    return [
        Picture(
            f"{of}{title}",
            single_cell_figure(getattr(genotype, cell), getattr(genotype, f"{cell}_concat")),
        )
        for cell, title in CELLS.items()
    ]


def time_section(runs: Mapping[str, RunRecord]) -> Section:
    """Say where the time of runs went, and what memory they took."""
    begun = {name: sum_up_times(run.history) for name, run in runs.items() if run.history}
    totals = sum_up_times(list(begun.values()))
    bars = {name: one["time"] for name, one in begun.items()}
    pictures = [Picture("seconds", time_figure(bars))]
    if len(runs) == 1:
        (record,) = runs.values()
        rate = {"images a second": record.series("images_per_second")}
        memory = record.series("peak_memory_bytes")
        peak = {"peak memory": {epoch: count / 1e9 for epoch, count in memory.items()}}
        pictures += curves("images a second", rate, 1) + curves("peak memory, GB", peak, 0.1)
    line = describe_time(totals["time"], totals["images_per_second"], totals["peak_memory_bytes"])
    return Section("Time and memory", [Text(f"{line}."), Pictures(pictures, "curve")])


def options_section(record: RunRecord) -> Section:
    """Say under which options, on which data and on what a run was begun."""
    data = record.dataset
    facts = [[f"begun on: {name}", show(value)] for name, value in record.machine.items()]
    for name in ("name", "train_images", "test_images", "image_size", "digest"):
        if data.get(name) is not None:
            facts.append([f"data: {name.replace('_', ' ')}", show(data[name])])
    if data.get("class_names"):
        facts.append(["data: classes", ", ".join(map(str, data["class_names"]))])
    blocks = [options_table(record.config)]
    if facts:
        blocks.append(Table(("what", "value"), facts, "versions, machine and data"))
    return Section("Options and versions", blocks)


def command(*words: str | Path) -> str:
    """Write a command line of ``adarts``, quoted for a shell, with the files of candidates.

    Example:
        >>> command("draw", Path("runs/my search"))
        "adarts draw 'runs/my search'"
    """
    return shlex.join(["adarts", *map(str, words), *candidate_options()])


def going_on(config: RunConfig, folder: Path) -> tuple[str, str]:
    """Return what goes on with the run or runs in a folder, and what that does."""
    if config.dataset == GIVEN:
        return f"{config.kind}(..., resume=True, dataset=...)", "go on from Python, with its data"
    own = isinstance(config, SearchConfig) and any(map(is_own, parse_strategy(config.strategy)))
    named = ["--strategy", config.strategy] if own else []  # a program runs only if it is named
    return command(config.kind, *named, "--resume", "--out", folder), "go on with it"


def progress(records: Iterable[RunRecord]) -> str:
    """Say how far runs have come."""
    records = list(records)
    done = sum(len(record.history) for record in records)
    of = sum(record.config.epochs for record in records)
    if all(record.ended for record in records):
        return f"ended, {done} epochs"
    return f"not ended, {done} of {of} epochs"
