"""The report of a search."""

from __future__ import annotations

from collections.abc import Sequence

from adarts_ext.cli.numbers import short_number
from adarts_ext.draw.lines import y_range
from adarts_ext.draw.panels import heat_map_figure, scale_figure
from adarts_ext.genotype import Genotype, incoming_edges, state_name
from adarts_ext.genotype.candidates import columns_of
from adarts_ext.nn.candidates import parse_space
from adarts_ext.report.common import (
    CELLS,
    cell_pictures,
    command,
    curves,
    going_on,
    options_section,
    other_pictures,
    progress,
    signs_table,
    time_section,
    training_pictures,
)
from adarts_ext.report.page import Commands, Facts, Page, Picture, Pictures, Section, Text
from adarts_ext.report.record import RunRecord
from adarts_ext.retrain.config import RetrainConfig
from adarts_ext.retrain.cost import network_cost
from adarts_ext.runs.clock import duration
from adarts_ext.runs.options import GIVEN
from adarts_ext.search.result import POOLINGS, count

MOST_CHOSEN = 4  # epochs whose cells are shown
LEAST_WEIGHTS = 0.02  # range of alphas and betas below which the colours do not magnify


def search_page(record: RunRecord) -> Page:
    """Make the page of a search, as far as it has come."""
    sections = [Section("Result", [Facts(facts(record))]), next_section(record)]
    if record.history:
        warmup_end = min(record.config.warmup_epochs, len(record.history))
        sections += [
            cells_section(record, warmup_end),
            curves_section(record, warmup_end),
            *(weights_section(record, cell, warmup_end) for cell in CELLS),
            time_section({"search": record}),
        ]
    sections.append(options_section(record))
    title = f"Search on {record.config.dataset}"
    lead = f"{progress([record])}; run folder `{record.folder}`"
    return Page(title, lead, sections)


def facts(record: RunRecord) -> list[tuple[str, str]]:
    """Return the numbers of the search that matter most."""
    found = [("epochs", f"{len(record.history)} of {record.config.epochs}")]
    stages = record.series("stage")
    if stages:
        begins = {stage: epoch for epoch, stage in reversed(stages.items())}
        warm = ", each with a warm-up" if record.config.warmup_epochs else ""
        found.append(("stages", f"from epoch {', '.join(map(str, sorted(begins.values())))}{warm}"))
    accuracy = record.last("validation_accuracy")
    if accuracy is not None:
        found.append(("supernet's validation accuracy", f"{100 * accuracy:.2f} %"))
    result = record.result or {}
    stopped = result.get("genotype_epoch", result.get("epochs"))
    if stopped != result.get("epochs"):
        found.append(("genotype", f"after epoch {stopped}, the last without signs of a collapse"))
    if result.get("stopped"):
        found.append(("stopped", result["stopped"]))
    if record.genotype is not None:
        operations = len(record.genotype.normal + record.genotype.reduce)
        for name, ops in (("skip connections", ("skip_connect",)), ("poolings", POOLINGS)):
            found.append((name, f"{count(record.genotype, ops)} of {operations}"))
        found += derived_costs(record, record.genotype)
    if record.history:
        found.append(("time", duration(sum(record.series("seconds").values()))))
    return found


def derived_costs(record: RunRecord, genotype: Genotype) -> list[tuple[str, str]]:
    """Return what the network costs that ``adarts retrain`` makes of a genotype by default."""
    images = record.images()
    if images is None:
        return []
    cost = network_cost(genotype, RetrainConfig(stem=record.config.stem), images)
    return [
        ("derived network's parameters", short_number(cost["parameters"])),
        ("its MACs, an image", short_number(cost["macs"])),
    ]


def next_section(record: RunRecord) -> Section:
    """Say what to do with the search now."""
    folder = record.folder
    profile = (command("profile", folder), "time the derived network on this machine")
    if not record.ended:
        lines = [going_on(record.config, folder)]
    elif record.config.dataset == GIVEN:  # trained where its data are: in Python
        lines = [profile]
    else:
        lines = [
            (command("retrain", folder), "train the network that was found, and test it"),
            (
                command("retrain", f"random:0:{folder}"),
                "train a genotype at random the same way: what the search has to beat",
            ),
            profile,
        ]
    text = (
        "Parameters and MACs are those of the network that `adarts retrain` trains by default, "
        f"of {RetrainConfig.layers} cells and {RetrainConfig.init_channels} channels in the first."
    )
    return Section("What to do next", [Commands(lines), Text(text)])


def cells_section(record: RunRecord, warmup_end: int) -> Section:
    """Draw the cells that were found, and those of some epochs on the way."""
    blocks = []
    if record.genotype is not None:
        blocks.append(Pictures(cell_pictures(record.genotype), "cell"))
    pictures = [
        picture
        for epoch in chosen_epochs(list(record.genotypes), warmup_end)
        for picture in cell_pictures(record.genotypes[epoch], f"epoch {epoch}, ")
    ]
    if pictures:
        blocks.append(Pictures(pictures, "cell", "On the way"))
    return Section("Cells", blocks)


def chosen_epochs(epochs: Sequence[int], warmup_end: int) -> list[int]:
    """Choose the first epoch after the warm-up, the last one, and some between, evenly.

    Example:
        >>> chosen_epochs(range(1, 81), warmup_end=15)
        [16, 37, 59, 80]
        >>> chosen_epochs([1, 2], warmup_end=2)
        [2]
    """
    trained = [epoch for epoch in epochs if epoch > warmup_end] or list(epochs[-1:])
    last = len(trained) - 1
    places = (round(last * step / (MOST_CHOSEN - 1)) for step in range(MOST_CHOSEN))
    return [trained[place] for place in dict.fromkeys(places) if trained]


def curves_section(record: RunRecord, warmup_end: int) -> Section:
    """Draw what was measured after every epoch."""
    kinds = {"skip connections": ("skip_connect",), "poolings": POOLINGS}
    pictures = training_pictures(record, "validation", warmup_end)
    for what, ops in kinds.items():
        counts = {
            title: {
                epoch: sum(op in ops for op, _ in getattr(genotype, cell))
                for epoch, genotype in record.genotypes.items()
            }
            for cell, title in CELLS.items()
        }
        pictures += curves(f"{what} of the derived cells", counts, 4, warmup_end)
    pictures += curves(
        "loss of the architecture steps", {"loss": record.series("arch_loss")}, 0.1, warmup_end
    )
    pictures += other_pictures(record, warmup_end)
    blocks = [Pictures(pictures, "curve"), *signs_table(record)]
    if warmup_end:
        text = f"Shaded: the warm-up, to epoch {warmup_end}; alphas and betas are not trained yet."
        blocks.insert(0, Text(text))
    return Section("Curves", blocks)


def weights_section(record: RunRecord, cell: str, warmup_end: int) -> Section:
    """Draw the weights of a cell's operations and edges over the epochs, as heat maps."""
    epochs = [entry["epoch"] for entry in record.history]
    alphas = [entry[f"alphas_{cell}"] for entry in record.history]
    betas = [entry[f"betas_{cell}"] for entry in record.history]
    kept = getattr(record.genotype, cell, ())
    limits = y_range([edge for epoch in alphas for edge in epoch], LEAST_WEIGHTS)
    columns = columns_of(parse_space(record.config.space))
    operations, edges_into = [], []
    for node, edges in enumerate(incoming_edges(record.config.steps)):
        into = state_name(node + 2)
        for source in range(node + 2):
            weights = zip(*(epoch[edges.start + source] for epoch in alphas), strict=True)
            rows = dict(zip(columns, weights, strict=True))
            marked = [op for op, state in kept[2 * node : 2 * node + 2] if state == source]
            figure = heat_map_figure(rows, epochs, limits, marked, warmup_end)
            operations.append(Picture(f"{state_name(source)} to {into}", figure))
        if betas[0] is not None:
            weights = zip(*(epoch[edges] for epoch in betas), strict=True)
            rows = {state_name(source): line for source, line in enumerate(weights)}
            marked = [state_name(state) for _, state in kept[2 * node : 2 * node + 2]]
            low, high = y_range(list(rows.values()), LEAST_WEIGHTS)
            figure = heat_map_figure(rows, epochs, (low, high), marked, warmup_end)
            edges_into.append(Picture(f"into {into}: {low:.2f} to {high:.2f}", figure))
    text = (
        "An edge a picture: a row an operation, a column an epoch, bright for a large weight "
        "(softmax of the alphas). Bold: the operations that the genotype has."
    )
    if 0 < warmup_end < epochs[-1]:
        text += " The dashed line ends the warm-up."
    blocks = [
        Text(text),
        Pictures([Picture("weight of an operation", scale_figure(limits))], "curve"),
        Pictures(operations, "map"),
    ]
    if edges_into:
        heading = "Weights of the edges into each node (softmax of the betas), darkest to brightest"
        blocks.append(Pictures(edges_into, "map", heading))
    return Section(f"Weights of the {CELLS[cell]}", blocks)
