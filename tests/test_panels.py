"""The small figures of reports: they show the numbers they are given, and nothing is cut off."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from adarts_ext.draw.lines import FIRST, SECOND
from adarts_ext.draw.panels import curve_figure, heat_map_figure, scale_figure, time_figure
from adarts_ext.genotype import PRIMITIVES


def assert_nothing_is_cut_off(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    legends = [legend.get_window_extent(renderer) for legend in figure.legends]
    for box in boxes + legends:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
    for one, other in itertools.product(boxes, legends):
        assert not one.overlaps(other)


def test_curves_run_through_the_values_of_their_epochs():
    curves = {"train": (FIRST, {1: 2.0, 2: 1.5, 3: 1.0}), "test": (SECOND, {3: 1.25})}
    figure = curve_figure(curves, least=0.1, warmup_end=1)
    (axes,) = figure.axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn == {"train": [[1, 2], [2, 1.5], [3, 1]], "test": [[3, 1.25]]}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["train", "test"]
    low, high = axes.get_ylim()
    assert low < 1
    assert high > 2
    assert_nothing_is_cut_off(figure)


@pytest.mark.parametrize("values", [{1: 2.07944, 2: 2.07901}, {1: 1e-6, 2: 3e-6}, {1: 123456.5}])
def test_numbers_of_any_size_fit_beside_their_axis(values):
    assert_nothing_is_cut_off(
        curve_figure({"one": (FIRST, values)}, least=0.02 * max(values.values()))
    )


def test_counts_have_whole_numbers_beside_them_and_none_below_zero():
    figure = curve_figure({"skips": (FIRST, {1: 0, 2: 1, 3: 0})}, least=4)
    (axes,) = figure.axes
    assert all(tick == round(tick) for tick in axes.get_yticks())
    assert -0.5 < axes.get_ylim()[0] < 0


def test_a_heat_map_has_a_row_a_name_and_a_column_an_epoch():
    weights = np.random.default_rng(0).dirichlet(np.ones(8), 5).T
    rows = dict(zip(PRIMITIVES, weights.tolist(), strict=True))
    figure = heat_map_figure(rows, [1, 2, 3, 4, 5], (0, 1), ["skip_connect"], warmup_end=2)
    (axes,) = figure.axes
    (image,) = axes.images
    assert np.array_equal(image.get_array(), weights)
    assert image.get_extent() == [0.5, 5.5, 7.5, -0.5]
    assert image.get_clim() == (0, 1)
    (line,) = axes.lines
    assert list(line.get_xdata()) == [2.5, 2.5]
    labels = axes.get_yticklabels()
    assert [label.get_text() for label in labels] == list(PRIMITIVES)
    assert [one.get_text() for one in labels if one.get_fontweight() == "bold"] == ["skip_connect"]
    assert_nothing_is_cut_off(figure)


@pytest.mark.parametrize("op", PRIMITIVES)
def test_every_operation_fits_in_bold_type(op):
    assert_nothing_is_cut_off(heat_map_figure({op: [0.5]}, [1], (0, 1), [op]))


def test_the_scale_shows_its_ends():
    figure = scale_figure((0.1, 0.4))
    assert figure.axes[0].get_xlim() == (0.1, 0.4)
    assert_nothing_is_cut_off(figure)


def test_bars_are_as_long_as_the_time_and_follow_each_other():
    runs = {
        "Seed 0": {"data": 1.0, "weight step": 3.0},
        "Seed 123": {"data": 0.5, "weight step": 2.0},
    }
    figure = time_figure(runs)
    (axes,) = figure.axes
    bars = [(bar.get_x(), bar.get_width()) for bar in axes.patches]
    assert bars == [(0, 1.0), (0, 0.5), (1.0, 3.0), (0.5, 2.0)]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(runs)
    assert_nothing_is_cut_off(figure)
