"""The report of a training of a genotype."""

from __future__ import annotations

from adarts_ext.cli.numbers import short_number
from adarts_ext.report.common import (
    cell_pictures,
    command,
    going_on,
    options_section,
    other_pictures,
    progress,
    signs_table,
    time_section,
    training_pictures,
)
from adarts_ext.report.page import Commands, Facts, Page, Pictures, Section
from adarts_ext.report.record import RunRecord
from adarts_ext.retrain.cost import network_cost
from adarts_ext.runs.clock import duration
from adarts_ext.runs.options import GIVEN


def retrain_page(record: RunRecord) -> Page:
    """Make the page of a training, as far as it has come."""
    sections = [Section("Result", [Facts(facts(record))]), next_section(record)]
    if record.history:
        pictures = training_pictures(record, "test") + other_pictures(record)
        sections.append(Section("Curves", [Pictures(pictures, "curve"), *signs_table(record)]))
    if record.genotype is not None:
        sections.append(Section("Cells", [Pictures(cell_pictures(record.genotype), "cell")]))
    if record.history:
        sections.append(time_section({"training": record}))
    sections.append(options_section(record))
    title = f"Training on {record.config.dataset}"
    return Page(title, f"{progress([record])}; run folder `{record.folder}`", sections)


def facts(record: RunRecord) -> list[tuple[str, str]]:
    """Return the numbers of the training that matter most."""
    found = [("epochs", f"{len(record.history)} of {record.config.epochs}")]
    tests = record.series("test_accuracy")
    if tests:
        best = max(tests, key=tests.__getitem__)
        found.append(("test accuracy, last", f"{100 * list(tests.values())[-1]:.2f} %"))
        found.append(("test accuracy, best", f"{100 * tests[best]:.2f} %, epoch {best}"))
    images = record.images()
    if images is not None and record.genotype is not None:
        cost = network_cost(record.genotype, record.config, images)
        found.append(("parameters", short_number(cost["parameters"])))
        found.append(("MACs, an image", short_number(cost["macs"])))
    if record.history:
        found.append(("time", duration(sum(record.series("seconds").values()))))
    return found


def next_section(record: RunRecord) -> Section:
    """Say what to do with the training now."""
    folder = record.folder
    if not record.ended:
        lines = [going_on(record.config, folder)]
    else:
        onnx = command("export", folder, "--to", "onnx", "--out", folder / "network.onnx")
        lines = [(onnx, "write the network for other programs")]
        if record.config.dataset != GIVEN:
            lines.append((command("evaluate", folder), "test it again"))
    return Section("What to do next", [Commands(lines)])
