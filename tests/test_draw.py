from __future__ import annotations

import functools
import itertools
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.backends.backend_agg import FigureCanvasAgg
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
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
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
    for node in range(len(genotype.normal) // 2):
        assert texts.count(str(node)) == 2
    for name in ("$c_{k-2}$", "$c_{k-1}$", "$c_{k}$"):
        assert texts.count(name) == 2


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


def test_svg_holds_every_label_as_text(genotype, tmp_path):
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
    with pytest.raises(ValueError, match=r"\.svg or \.png, got .*cells"):
        draw_genotype(KNOWN["ADARTS_V1"], tmp_path / name)
    with pytest.raises(ValueError, match=r"\.svg or \.png, got .*cells"):
        draw_history(tmp_path, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def make_history(epochs, steps=4, with_betas=True):
    generator = np.random.default_rng(0)
    nodes = [edges.stop - edges.start for edges in incoming_edges(steps)]

    def softmaxed(*shape):
        return generator.dirichlet(np.ones(shape[-1]), shape[:-1]).tolist()

    return [
        {
            "epoch": epoch,
            **{f"alphas_{cell}": softmaxed(sum(nodes), 8) for cell in ("normal", "reduce")},
            **{
                f"betas_{cell}": [b for n in nodes for b in softmaxed(n)] if with_betas else None
                for cell in ("normal", "reduce")
            },
            "skip_connections_normal": epoch % 4,
            "skip_connections_reduce": 0,
            "train_loss": 2.3 / epoch,
            "train_accuracy": 1 - 0.9 / epoch,
            "validation_loss": 2.4 / epoch,
            "validation_accuracy": 1 - 0.95 / epoch,
        }
        for epoch in range(1, epochs + 1)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epochs", "steps", "with_betas"), [(5, 4, True), (1, 2, False), (2, 1, True)]
)
def test_history_shows_every_edge_and_no_text_overlaps(epochs, steps, with_betas):
    history = make_history(epochs, steps, with_betas)
    figure = history_figure(history)
    renderer = drawn(figure)
    panels = [axes for axes in figure.findobj(match=type(figure.axes[0])) if axes.axison]
    edges = incoming_edges(steps)[-1].stop
    assert len(panels) == 2 * (edges + steps * with_betas) + 3
    alphas = [axes for axes in panels if len(axes.lines) == len(PRIMITIVES)]
    assert len(alphas) == 2 * edges
    drawn_alphas = [line.get_ydata()[0] for axes in alphas[:edges] for line in axes.lines]
    assert np.allclose(np.sort(drawn_alphas), np.sort(np.ravel(history[0]["alphas_normal"])))
    titles = [axes.title for axes in panels]
    legends = [legend for part in figure.subfigs for legend in part.legends]
    texts = titles + [text for legend in legends for text in legend.get_texts()]
    assert {text.get_text() for text in texts} >= set(PRIMITIVES)
    extents = [text.get_window_extent(renderer) for text in texts]
    for one, other in itertools.combinations(extents, 2):
        assert not one.overlaps(other)
    for extent in extents:
        assert extent.x0 >= 0
        assert extent.x1 <= figure.bbox.x1


@pytest.mark.slow
def test_history_is_read_from_the_run_folder(tmp_path):
    (tmp_path / "history.json").write_text(json.dumps(make_history(3, steps=2)))
    for name in ("history.svg", "history.png"):
        draw_history(tmp_path, tmp_path / name)
    text = (tmp_path / "history.svg").read_text()
    for part in (*PRIMITIVES, "Normal cell", "Reduction cell", "betas into node 1", "accuracy"):
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
