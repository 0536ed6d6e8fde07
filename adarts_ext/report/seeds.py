"""The report of runs from several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adarts_ext.compare.report import percent
from adarts_ext.compare.summary import Numbers
from adarts_ext.report import retrain, search
from adarts_ext.report.common import (
    LEAST_RANGE,
    cell_pictures,
    command,
    curves,
    going_on,
    options_section,
    progress,
    time_section,
    training_pictures,
)
from adarts_ext.report.page import Commands, Facts, Link, Page, Pictures, Section, Table, Text
from adarts_ext.report.record import RunRecord
from adarts_ext.runs.options import GIVEN
from adarts_ext.search.result import agreement

TESTED = {"search": "validation", "retrain": "test"}
FACTS = {"search": search.facts, "retrain": retrain.facts}


def seeds_page(folder: Path, records: Sequence[RunRecord], seeds: Sequence[int]) -> Page:
    """Make the page of runs from several seeds, as far as they have come.

    Args:
        folder: The folder of all.
        records: The runs that have begun, at least one.
        seeds: The seeds of all, those not begun included.
    """
    runs = {f"Seed {record.config.seed}": record for record in records}
    first = records[0]
    sections = [
        Section("Result", [Facts(summary(records, seeds)), seeds_table(runs, seeds)]),
        next_section(folder, records, seeds),
    ]
    if any(record.history for record in records):
        sections += [over_seeds_section(runs), time_section(runs)]
    if first.config.kind == "retrain" and first.genotype is not None:
        sections.append(Section("Cells", [Pictures(cell_pictures(first.genotype), "cell")]))
    sections += [seed_section(title, record) for title, record in runs.items()]
    options = options_section(first)
    note = Text(f"Those of seed {first.config.seed}; the runs differ in nothing but their seeds.")
    sections.append(Section(options.title, [note, *options.blocks]))
    what = {"search": "Searches", "retrain": "Trainings"}[first.config.kind]
    title = f"{what} on {first.config.dataset} from {len(seeds)} seeds"
    return Page(title, f"{progress(records)}; folder `{folder}`", sections)


def summary(records: Sequence[RunRecord], seeds: Sequence[int]) -> list[tuple[str, str]]:
    """Return mean and deviation over the seeds, and how far genotypes agree."""
    kind = records[0].config.kind
    ended = [record for record in records if record.ended]
    found = [("runs that have ended", f"{len(ended)} of {len(seeds)}")]
    name = f"{TESTED[kind]}_accuracy"
    values = [record.last(name) for record in ended if record.series(name)]
    if values:
        found.append((f"{TESTED[kind]} accuracy, %", percent(Numbers(tuple(values)))))
    genotypes = [record.genotype for record in ended if record.genotype is not None]
    if kind == "search" and len(genotypes) > 1:
        found.append(("edges that two genotypes share", f"{100 * agreement(genotypes):.0f} %"))
    return found


def seeds_table(runs: dict[str, RunRecord], seeds: Sequence[int]) -> Table:
    """Make the table of the runs, with links to what the page says of each."""
    facts = {title: dict(FACTS[run.config.kind](run)) for title, run in runs.items()}
    columns = list(dict.fromkeys(name for one in facts.values() for name in one))
    rows = [
        [Link(title, title), *(one.get(name, "-") for name in columns)]
        for title, one in facts.items()
    ]
    titles = [f"Seed {seed}" for seed in seeds]
    rows += [
        [f"{title}, not begun", *("-" for _ in columns)] for title in titles if title not in runs
    ]
    return Table(("run", *columns), rows)


def next_section(folder: Path, records: Sequence[RunRecord], seeds: Sequence[int]) -> Section:
    """Say what to do with the runs now."""
    config, one = records[0].config, records[0].folder
    lines = [(command("report", one), "all that is known of one seed")]
    if len(records) < len(seeds) or not all(record.ended for record in records):
        lines.append(going_on(config, folder))
    elif config.kind == "search" and config.dataset != GIVEN:
        lines.append((command("retrain", one), "train what a seed found; which is your choice"))
    return Section("What to do next", [Commands(lines)])


def over_seeds_section(runs: dict[str, RunRecord]) -> Section:
    """Draw losses and accuracies of all seeds together."""
    tested = TESTED[next(iter(runs.values())).config.kind]
    pictures = []
    for part in (tested, "train"):
        for what in ("accuracy", "loss"):
            name = f"{part}_{what}"
            values = {title: record.series(name) for title, record in runs.items()}
            pictures += curves(name.replace("_", " "), values, LEAST_RANGE)
    return Section("Curves of all seeds", [Pictures(pictures, "curve")])


def seed_section(title: str, record: RunRecord) -> Section:
    """Draw the curves of one seed, and the cells that a search found."""
    blocks = [Text(f"{progress([record])}; run folder `{record.folder}`")]
    if record.history:
        blocks.append(Pictures(training_pictures(record, TESTED[record.config.kind]), "curve"))
    if record.config.kind == "search" and record.genotype is not None:
        blocks.append(Pictures(cell_pictures(record.genotype), "cell"))
    return Section(title, blocks)
