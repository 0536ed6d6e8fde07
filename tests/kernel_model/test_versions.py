"""The kernels of docs/kernels.md compute what the page says, in every version."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from conftest import seed_of_run
from kernel_versions import emulated, reference
from kernel_versions.draw import drawing
from kernel_versions.predicted import compiled, predict_version
from kernel_versions.subjects import SUBJECTS

from adarts_ext.draw.figure import figure_svg

ROOT = Path(__file__).resolve().parents[2]
STENCIL = SUBJECTS[0]
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _numbers():
    torch.manual_seed(seed_of_run())


def numbers(versions) -> range:
    return range(1, len(versions) + 1)


@pytest.mark.parametrize("size", [(9, 7), (18, 17)])
def test_stencil(size):
    h, w = torch.randn(1, 2, *size, emulated.IMAGES), torch.randn(2, 5, 5)
    exact = reference.stencil(h.double(), w.double())
    allowed = (
        2 * (reference.stencil(h, w) - exact).abs().max() + torch.finfo().eps * exact.abs().max()
    )
    for version in numbers(emulated.STENCIL):
        assert (emulated.stencil(version, h, w) - exact).abs().max() <= allowed, version


def relative_error(version, x):
    exact = reference.reduction(x.double())
    return ((emulated.reduction(version, x) - exact) / exact).abs().amax(1)


def test_reduction():
    x = torch.randn(7, 3, 300) + torch.tensor([1.0, 2.0, -3.0])[:, None]  # two parts a channel
    for version in numbers(emulated.REDUCTION):
        assert relative_error(version, x).max() < 1e-5, version


def test_one_pass_loses_the_variance_where_the_mean_is_large():
    x = torch.randn(7, 8, 300) + 300
    errors = [relative_error(version, x)[2] for version in numbers(emulated.REDUCTION)]
    assert errors.pop(2) > 1e-3
    assert max(errors) < 1e-4


def test_a_version_that_there_is_not():
    with pytest.raises(ValueError, match="expected a version of reduction, got 0"):
        emulated.reduction(0, torch.zeros(2, 1, 8))


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_what_the_model_says_of_the_stencil():
    kernels = compiled(STENCIL.sources, "sm_90")
    inputs = emulated.allocate(1, 4, 32, 32, emulated.IMAGES), emulated.allocate(4, 5, 5)
    found = [
        predict_version(STENCIL, version, inputs, kernels) for version in numbers(emulated.STENCIL)
    ]
    issued = [of.instructions() for of in found]
    *first, library = issued
    assert first == sorted(first, reverse=True), "each version issues less than the one before"
    assert first[5] < library < first[3], "two pixels share less than four, and more than one"
    assert all(of.registers <= 168 and len(of.launches) == 1 for of in found)
    assert found[4].term("LSU") > found[3].term("LSU"), "shared memory spares no turn of the LSU"


def test_the_page_has_the_tables_and_the_picture_of_the_scripts():
    page = (ROOT / "docs" / "kernels.md").read_text()
    results = (ROOT / "benchmarks" / "results" / "kernel_versions.md").read_text()
    rows = re.findall(r"^\|.*", results, re.MULTILINE)
    assert len(rows) == 2 * 2 + len(emulated.STENCIL) + len(emulated.REDUCTION)
    assert [row for row in rows if row not in page] == []
    written = [figure_svg(drawing()).decode(), (ROOT / "docs" / "stencil.svg").read_text()]
    ours, there = (re.findall(r"<text.*>(.*)</text>", text) for text in written)
    assert ours == there
    assert len(ours) > 40
