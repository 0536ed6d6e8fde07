from __future__ import annotations

import functools
import itertools
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from histories import make_history
from matplotlib._pylab_helpers import Gcf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.legend import Legend
from matplotlib.patches import FancyBboxPatch
from matplotlib.transforms import Affine2D, Bbox
from PIL import Image

from adarts_ext.draw import draw_genotype, draw_history
from adarts_ext.draw.cell import cell_figure
from adarts_ext.draw.history import history_figure
from adarts_ext.draw.layout import layout_cell
from adarts_ext.genotype import KNOWN, PRIMITIVES, Genotype, incoming_edges, random_genotype

# A node that no other state and not even the output uses, and a node fed twice by one state.
UNUSED_NODE = Genotype(
    normal=[("none", 0), ("skip_connect", 1), ("max_pool_3x3", 1), ("dil_conv_5x5", 1)],
    normal_concat=[3],
    reduce=[("sep_conv_5x5", 0), ("sep_conv_3x3", 0), ("skip_connect", 2), ("avg_pool_3x3", 0)],
    reduce_concat=[2, 3],
)
GENOTYPES = (
    KNOWN
    | {f"random{seed}": random_genotype(seed) for seed in range(6)}
    | {f"{steps}nodes": random_genotype(steps, steps) for steps in (1, 2, 6)}
    | {"unused": UNUSED_NODE}
)


@pytest.fixture(params=list(GENOTYPES))
def genotype(request):
    return GENOTYPES[request.param]


def drawn(figure):
    """Lay a figure out, and return what tells how large its texts are."""
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    return canvas.get_renderer()


@functools.cache
def drawn_cells(genotype):
    figure = cell_figure(genotype)
    return figure, figure.axes[0], drawn(figure)


def boxes_of(axes, kind):
    """The rectangles of the drawn states or labels, in inches."""
    patches = [p for p in axes.patches if isinstance(p, FancyBboxPatch) and p.get_gid() == kind]
    return [Bbox.from_bounds(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in patches]


def points_of(patch):
    """Points along a drawn curve, at most a hundredth of an inch apart."""
    points = []
    for polygon in patch.get_path().to_polygons(Affine2D().scale(200), closed_only=False):
        corners = np.asarray(polygon) / 200
        for start, end in itertools.pairwise(corners):
            count = 2 + int(np.hypot(*(end - start)) / 0.01)
            points.append(np.linspace(start, end, count))
    return np.concatenate(points)


def test_every_state_and_every_edge_is_drawn(genotype):
    _, axes, _ = drawn_cells(genotype)
    texts = [text.get_text() for text in axes.texts]
    for cell, concat in (
        (genotype.normal, genotype.normal_concat),
        (genotype.reduce, genotype.reduce_concat),
    ):
        layout = layout_cell(cell, concat)
        assert [(edge.op, edge.source) for edge in layout.edges if edge.op] == list(cell)
        assert sorted(edge.source for edge in layout.edges if edge.op is None) == sorted(concat)
    ops = [op for op, _ in genotype.normal + genotype.reduce]
    assert sorted(t.get_text() for t in axes.texts if t.get_gid() == "op") == sorted(ops)
    for node in range(2, 2 + len(genotype.normal) // 2):
        assert texts.count(str(node)) == 2
    for name in ("0\n$c_{k-2}$", "1\n$c_{k-1}$", "$c_{k}$"):
        assert texts.count(name) == 2


def test_every_arrow_ends_at_the_node_whose_number_the_genotype_gives(genotype):
    """The label before the box with number n is one of the two operations of node n."""
    _, axes, _ = drawn_cells(genotype)
    numbers = {t.get_text(): [] for t in axes.texts if t.get_text().isdecimal()}
    for text in axes.texts:
        if text.get_text() in numbers:
            numbers[text.get_text()].append(text.get_position())
    for cell, places in zip((genotype.normal, genotype.reduce), (0, 1), strict=True):
        for node in range(2, 2 + len(cell) // 2):
            x, y = sorted(numbers[str(node)], key=lambda place: -place[1])[places]
            near = [
                text.get_text()
                for text in axes.texts
                if text.get_gid() == "op"
                and 0 < x - text.get_position()[0] < 1.2
                and abs(y - text.get_position()[1]) < 0.3
            ]
            assert sorted(near) == sorted(op for op, _ in cell[2 * node - 4 : 2 * node - 2])


def test_no_box_or_label_overlaps_another(genotype):
    _, axes, _ = drawn_cells(genotype)
    boxes = boxes_of(axes, "state") + boxes_of(axes, "label")
    assert len(boxes) == len(genotype.normal + genotype.reduce) * 1.5 + 6
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


def test_no_text_overlaps_another_or_leaves_its_box_or_the_picture(genotype):
    figure, axes, renderer = drawn_cells(genotype)
    to_inches = axes.transData.inverted()
    extents = {text: text.get_window_extent(renderer) for text in axes.texts}
    (legend,) = figure.legends
    extents |= {text: text.get_window_extent(renderer) for text in legend.get_texts()}
    for one, other in itertools.combinations(extents.values(), 2):
        assert not one.overlaps(other)
    for extent in (*extents.values(), legend.get_window_extent(renderer)):
        assert extent.x0 >= 0
        assert extent.y0 >= 0
        assert extent.x1 <= figure.bbox.x1
        assert extent.y1 <= figure.bbox.y1
    labels = boxes_of(axes, "label")
    for text, extent in extents.items():
        if text.get_gid() == "op":
            inches = extent.transformed(to_inches)
            assert any(
                box.x0 < inches.x0
                and inches.x1 < box.x1
                and box.y0 < inches.y0
                and inches.y1 < box.y1
                for box in labels
            )


def test_no_curve_runs_through_a_box_or_a_label(genotype):
    _, axes, _ = drawn_cells(genotype)
    curves = [patch for patch in axes.patches if patch.get_gid() == "edge"]
    concat = len(genotype.normal_concat) + len(genotype.reduce_concat)
    assert len(curves) == len(genotype.normal + genotype.reduce) + concat
    # A curve ends on the border of a box, and its line has a width: the border belongs to no box.
    boxes = [box.padded(-0.03) for kind in ("state", "label") for box in boxes_of(axes, kind)]
    for curve in curves:
        x, y = points_of(curve).T
        for box in boxes:
            inside = (x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)
            assert not inside.any()


def test_the_edges_of_a_cell_run_from_left_to_right(genotype):
    layout = layout_cell(genotype.normal, genotype.normal_concat)
    for edge in layout.edges:
        assert layout.boxes[edge.source].x < layout.boxes[edge.target].x
    assert max(box.x for box in layout.boxes) == layout.boxes[-1].x


@pytest.mark.parametrize("name", ["ADARTS_V1", "unused"])
def test_svg_holds_every_label_as_text(name, tmp_path):
    genotype = GENOTYPES[name]
    path = tmp_path / "cells.svg"
    draw_genotype(genotype, path)
    root = ElementTree.parse(path).getroot()
    texts = [
        "".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")
    ]
    for op in PRIMITIVES:
        expected = [name for name, _ in genotype.normal + genotype.reduce].count(op)
        assert texts.count(op) == expected
    assert "Normal cell" in texts


def test_png_is_a_whole_picture(tmp_path):
    path = tmp_path / "cells.PNG"
    draw_genotype(KNOWN["ADARTS_V1"], path)
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        assert image.width > 1000
        assert len(image.convert("RGB").getcolors(maxcolors=1 << 20)) > 20


def test_the_same_genotype_gives_the_same_file(tmp_path):
    for name in ("one.svg", "two.svg"):
        draw_genotype(KNOWN["PC_DARTS"], tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


@pytest.mark.parametrize("name", ["cells.jpg", "cells", "cells.svg.gz"])
def test_another_suffix_is_refused_and_nothing_written(name, tmp_path):
    with pytest.raises(ValueError, match=r"\.svg, \.png or \.pdf, got .*cells"):
        draw_genotype(KNOWN["ADARTS_V1"], tmp_path / name)
    with pytest.raises(ValueError, match=r"\.svg, \.png or \.pdf, got .*cells"):
        draw_history(tmp_path, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def panels_of(figure):
    return [axes for axes in figure.axes if axes.axison]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epochs", "steps", "with_betas", "warmup"),
    [(5, 4, True, 2), (1, 2, False, 0), (2, 1, True, 1), (2, 5, True, 0)],
)
def test_history_shows_every_edge_and_no_text_overlaps(epochs, steps, with_betas, warmup):
    history = make_history(epochs, steps, with_betas, warmup)
    figure = history_figure(history)
    renderer = drawn(figure)
    panels = panels_of(figure)
    edges = incoming_edges(steps)[-1].stop
    assert len(panels) == 2 * (edges + steps * with_betas) + 3
    titles = [axes.get_title(loc="left") for axes in panels]
    for source, target in (("input 0", "node 2"), ("input 1", f"node {steps + 1}")):
        assert titles.count(f"{source} to {target}") == 2
    alphas = [axes for axes, title in zip(panels, titles, strict=True) if " to " in title]
    assert len(alphas) == 2 * edges
    drawn_alphas = [line.get_ydata()[0] for axes in alphas[:edges] for line in axes.lines]
    assert np.allclose(np.sort(drawn_alphas), np.sort(np.ravel(history[0]["alphas_normal"])))
    texts = [axes._left_title for axes in panels]
    for legend in figure.findobj(match=Legend):
        texts += legend.get_texts()
    texts += [part._suptitle for part in figure.subfigs if part._suptitle is not None]
    shown = {text.get_text() for text in texts}
    assert shown >= set(PRIMITIVES)
    assert any(text.startswith(f"warm-up, to epoch {warmup}:") for text in shown) == (warmup > 0)
    assert (f"beta from node {steps}" in shown) == (with_betas and steps > 1)
    extents = [text.get_window_extent(renderer) for text in texts]
    for one, other in itertools.combinations(extents, 2):
        assert not one.overlaps(other)
    for extent in extents:
        assert extent.x0 >= 0
        assert extent.x1 <= figure.bbox.x1
    for legend, axes in itertools.product(figure.findobj(match=Legend), panels):
        assert not legend.get_window_extent(renderer).overlaps(axes.bbox.padded(-1))


@pytest.mark.slow
@pytest.mark.parametrize("spread", [1.0, 0.1])
def test_axes_are_those_of_the_data(spread):
    figure = history_figure(make_history(6, steps=3, spread=spread))
    panels = panels_of(figure)
    shared = {}
    for axes in panels:
        values = np.concatenate([line.get_ydata() for line in axes.lines])
        low, high = axes.get_ylim()
        assert low < values.min()
        assert values.max() < high
        if " to " in axes.get_title(loc="left"):
            shared.setdefault((low, high), []).append(np.ptp(values))
        elif not axes.get_title(loc="left").startswith("skip"):
            assert np.ptp(values) > 0.8 * (high - low)
    assert len(shared) == 2  # one of the normal, one of the reduction cell
    for (low, high), ranges in shared.items():
        assert max(ranges) > 0.6 * (high - low)


def test_an_axis_does_not_magnify_noise():
    figure = history_figure(make_history(3, steps=1, spread=1e-4))
    for axes in panels_of(figure)[:3]:
        low, high = axes.get_ylim()
        assert high - low == pytest.approx(0.02)


def test_no_two_lines_of_a_panel_look_alike():
    """By more than their colour: also in print, and for those who see few colours."""
    figure = history_figure(make_history(2, steps=6))
    colors = {"alphas": set(), "betas": set()}
    for axes in panels_of(figure):
        assert len({line.get_marker() for line in axes.lines}) == len(axes.lines)
        assert len({line.get_color() for line in axes.lines}) > 1
        title = axes.get_title(loc="left")
        kind = "betas" if title.startswith("betas") else "alphas" if " to " in title else None
        if kind:
            colors[kind] |= {line.get_color() for line in axes.lines}
    assert not colors["alphas"] & colors["betas"]


@pytest.mark.parametrize(("warmup", "marked"), [(0, 0), (3, 3), (5, 5)])
def test_the_warm_up_is_marked_up_to_its_last_epoch(warmup, marked):
    figure = history_figure(make_history(5, steps=1, warmup=warmup))
    for axes in panels_of(figure):
        ends = [patch.get_x() + patch.get_width() for patch in axes.patches]
        assert ends == ([pytest.approx(marked)] if warmup else [])


@pytest.mark.slow
def test_history_is_read_from_the_run_folder(tmp_path):
    for steps, name in ((2, "history.svg"), (1, "history.png")):
        (tmp_path / "history.json").write_text(json.dumps(make_history(3, steps)))
        draw_history(tmp_path, tmp_path / name)
    text = (tmp_path / "history.svg").read_text()
    for part in (*PRIMITIVES, "Normal cell", "Reduction cell", "betas into node 3", "accuracy"):
        assert part in text
    with Image.open(tmp_path / "history.png") as image:
        image.load()
    assert Gcf.figs == {}  # no figure was left with pyplot


@pytest.mark.parametrize("content", ["[", "[]", "{}", '[{"epoch": 1, "train_loss": 1.0}]', "3"])
def test_a_damaged_history_is_one_clear_error(content, tmp_path):
    (tmp_path / "history.json").write_text(content)
    with pytest.raises(ValueError, match=r"history\.json: (not the history|damaged)"):
        draw_history(tmp_path, tmp_path / "history.svg")


def test_a_missing_history_is_one_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no history\.json"):
        draw_history(tmp_path, tmp_path / "history.svg")
