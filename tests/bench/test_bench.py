"""`adarts bench` at tiny sizes: what it measures, and what its files say of it."""

from __future__ import annotations

import json

import pytest
import torch
from build_once import use_build_once

import adarts_ext
from adarts_ext.bench import fresh, results
from adarts_ext.bench.arms import ARMS
from adarts_ext.bench.parts import cell, fit, ops, scaling
from adarts_ext.bench.report import plots
from adarts_ext.bench.rows import read_rows, write_rows
from adarts_ext.cli import main

pytestmark = pytest.mark.slow

TINY_NETWORK = ["--device", "cpu", "--threads", "1", "--init-channels", "8"]
TINY_NETWORK += ["--layers", "3", "--image-size", "16"]
TINY = [*TINY_NETWORK, "--batches", "2", "--compile-seconds", "0.01"]


def table_rows(text: str) -> list[list[str]]:
    """The cells of all table rows in a Markdown text."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def call_here(function, *arguments, environment=None, limit=None):
    """Stand in for a fresh process, but where that is to be stopped."""
    if limit is not None:
        return fresh_call(function, *arguments, limit=limit)
    return json.loads(json.dumps(function(*arguments)))


fresh_call, draw_all = fresh.call, plots.draw_all


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Measure in this process and in a few shapes, and draw nothing.

    The number of threads is left as it was.
    """
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fresh, "call", call_here)
        use_build_once(patch)
        patch.setattr(ops, "STAGES", ((8, 8),))
        patch.setattr(fit, "SMALL", (16, 32))
        patch.setattr(scaling, "VALUES", {"batch": (2, 18), "image": (16,)})
        patch.setattr(plots, "draw_all", lambda *of_all: None)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, quick):
    """A folder with the results of two runs, of which the second measured another part."""
    out = tmp_path_factory.mktemp("results")
    parts = ["--parts", "cell", "step", "memory", "scaling"]
    assert main(["bench", *TINY, "--out", str(out), "--rounds", "1", *parts]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "draw_all", draw_all)
        assert main(["bench", *TINY, "--out", str(out), "--rounds", "3", "--parts", "ops"]) == 0
    (folder,) = out.iterdir()
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return results.load(folder)


def test_all_arms_make_the_same_step(found):
    steps = found.groups("step")
    assert list(steps) == ["search step, N=2, float32", "search step, N=2, bfloat16"]
    for group, tolerance in zip(steps.values(), (1e-2, 1e-1), strict=True):
        losses = [entry.info["loss"] for entry in group.values()]
        assert max(losses) - min(losses) < tolerance, losses
    assert list(steps["search step, N=2, float32"]) == list(ARMS)


def test_every_round_is_kept_in_a_row_of_its_own(folder, found):
    machine, *rows = read_rows(folder / "results.jsonl")
    assert machine["threads"] == 1
    assert len(rows) == len(found.entries) + len(found.missing)
    for row in rows:
        assert {"part", "group", "arm"} <= set(row)
        if "missing" not in row:
            assert len(row["seconds"]) == (3 if row["part"] in ("ops", "roofs") else 1)
            assert row["date"]


def test_compile_is_stopped_at_its_limit(found):
    whys = {one["missing"] for one in found.missing if one["arm"] == "torch.compile, frozen"}
    assert whys == {"N=2: not done in 0.01 s"}
    used_up = {one["missing"] for one in found.missing if one["arm"] == "torch.compile"}
    assert used_up == {"the 0.01 s for torch.compile are used up"}


def test_operators(found):
    groups = found.groups("ops")
    assert len(groups) == 2 * len(ops.OPERATORS) - 1  # one has no backward pass
    for group in groups.values():
        assert {"plain", "ours"} <= set(group)
    info = groups["mixed_sum, 64x8x8x8, forward"]["ours"].info
    plane = 64 * 2 * 8 * 8
    assert info["flops"] == 2 * 7 * plane
    assert info["bytes"] == 4 * 8 * plane


def test_cells(found):
    groups = found.groups("cell")
    assert list(groups) == [
        "normal cell, 2x8x16x16",
        "reduction cell, 2x16x16x16",
        "reduction cell, 2x32x8x8",
    ]
    for group in groups.values():
        kept = {arm: entry.info["kept_bytes"] for arm, entry in group.items()}
        assert kept["ours, store"] > kept["ours, recompute"] > 0
        assert group["ours, store"].info["flops"] > 0


def test_scaling(found):
    groups = found.groups("scaling")
    assert list(groups) == [
        "scaling, batch N = 2",
        "scaling, batch N = 18",
        "scaling, image side, pixels = 16",
    ]
    first, second, again = (group["ours, store"] for group in groups.values())
    assert first.seconds == again.seconds  # the same size is measured once
    assert second.info["kept_bytes"] > first.info["kept_bytes"]


def test_report(folder, found):
    text = (folder / "results.md").read_text()
    assert "No data loading" in text
    rows = table_rows(text)
    cells = {row[0]: row[1] for row in rows}
    assert cells["device"] == found.machine["device"]
    assert cells["network"] == "C=8, 3 cells, 16x16, K=4, attention"
    group = found.groups("step")["search step, N=2, float32"]
    middle, low, high = group["ours, store"].times_as_fast(group["plain"])
    assert ["search step, N=2, float32", "ours, store"] in [row[:2] for row in rows]
    assert f"{middle:.2f} ({low:.2f} to {high:.2f})" in text
    for title in ("Search step", "Memory", "Search cell", "Operators", "Roofline", "Scaling"):
        assert f"## {title}" in text
    for picture in ("time", "memory", "roofline", "scaling"):
        assert f"({picture}.png)" in text
        assert (folder / f"{picture}.png").stat().st_size > 0


def test_memory_is_shown_against_plain(folder, found):
    (group,) = found.groups("memory").values()
    kept = {arm: entry.info["kept_bytes"] for arm, entry in group.items()}
    rows = table_rows((folder / "results.md").read_text())
    (row,) = (row for row in rows if row[:2] == ["memory, N=2", "ours, store"])
    assert row[3] == f"{kept['plain'] / kept['ours, store']:.2f}"


def test_results_of_another_device_are_refused_before_measuring(folder, tmp_path, capsys):
    rows = read_rows(folder / "results.jsonl")
    rows[0]["device"] = "another card"
    other = tmp_path / "results.jsonl"
    write_rows(other, rows)
    message = "was measured with device 'another card'"
    refused_in_one_line(["--compare", str(other), "--out", str(tmp_path / "out")], message, capsys)
    (folder / "kept.jsonl").write_text((folder / "results.jsonl").read_text())
    (folder / "results.jsonl").write_text(other.read_text())
    refused_in_one_line(["--out", str(folder.parent)], message, capsys)
    (folder / "kept.jsonl").replace(folder / "results.jsonl")


def test_results_of_another_size_are_refused(folder, capsys):
    options = ["--out", str(folder.parent), "--init-channels", "16"]
    refused_in_one_line(options, "was measured with network 'C=8, 3 cells, 16x16", capsys)


def test_parts_of_other_versions_do_not_stay(folder, monkeypatch, capsys):
    monkeypatch.setattr(adarts_ext, "__version__", "9.9")
    options = ["--out", str(folder.parent), "--parts", "step"]
    refused_in_one_line(options, "holds the parts cell, memory, ops, roofs, scaling of", capsys)


def refused_in_one_line(options: list[str], message: str, capsys) -> None:
    assert main(["bench", *TINY, *options]) != 0
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1, error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--parts", "cells"], "invalid choice: 'cells'"),
        (["--rounds", "0"], "rounds: expected at least 1, got 0"),
        (["--layers", "2"], "layers: expected at least 3, got 2"),
        (["--batches", "0"], "batches: expected at least 1, got 0"),
        (["--image-size", "0"], "--image-size: expected a multiple of 4, at least 16, got 0"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
        (["--device", "cuda:1"], "invalid choice: 'cuda:1'"),
        (["--fit", "--parts", "ops"], "--fit measures no part, got --parts ops too"),
        (["--fit"], "--batches: only for the parts ops, cell, step, memory, scaling, got it for"),
        (["--memory-limit", "1"], "--memory-limit: only for --fit, got it for ops and cell and"),
        (["--parts", "memory"], "--compile-seconds: only for the parts ops, step, got it for memo"),
        (["--compare", "nowhere"], "nowhere: No such file or directory"),
    ],
)
def test_wrong_usage_is_said_in_one_line(options, message, capsys):
    refused_in_one_line(options, message, capsys)


def test_an_empty_memory_limit_is_refused(capsys):
    assert main(["bench", "--fit", "--memory-limit", "0"]) == 1
    assert "--memory-limit: expected above 0, got 0.0" in capsys.readouterr().err


def test_what_is_no_result_is_refused(tmp_path, capsys):
    (tmp_path / "results.jsonl").write_text("{}")
    refused_in_one_line(["--compare", str(tmp_path)], "not a result of adarts bench", capsys)
    (tmp_path / "results.jsonl").write_text("{\n}")
    refused_in_one_line(["--compare", str(tmp_path)], "line 1 is no JSON object", capsys)


def test_results_of_the_older_format_are_refused(tmp_path, capsys):
    (tmp_path / "results.json").write_text(json.dumps({"machine_info": {}}, indent=1))
    for place in (tmp_path, tmp_path / "results.json"):
        refused_in_one_line(["--compare", str(place)], "is in an older format", capsys)


def test_an_interrupted_run_keeps_what_it_measured(monkeypatch, tmp_path, capsys):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cell, "measure", interrupted)
    options = ["--out", str(tmp_path), "--rounds", "1", "--parts", "ops", "cell"]
    assert main(["bench", *TINY, *options]) == 130
    (path,) = tmp_path.rglob("results.jsonl")
    assert results.load(path).parts() == {"roofs", "ops"}


def test_a_group_that_fails_does_not_stop_the_others(monkeypatch, tmp_path, capsys):
    def broken(*args):
        raise RuntimeError("planted")

    monkeypatch.setattr(ops, "OPERATORS", dict(list(ops.OPERATORS.items())[:1]))
    monkeypatch.setattr(ops, "measure", broken)
    assert main(["bench", *TINY, "--out", str(tmp_path), "--rounds", "1", "--parts", "ops"]) == 1
    captured = capsys.readouterr()
    assert "RuntimeError: planted" in captured.err
    assert "- ops, ours: failed: RuntimeError (2 times)" in captured.out


def test_comparing_with_itself_a_time_ago(folder, tmp_path, capsys):
    """What took a thousandth then is a regression now, what took a thousand times improved."""
    rows = read_rows(folder / "results.jsonl")
    for row in rows[1:]:
        if row["arm"] == "ours" and "seconds" in row:
            factor = 1e-3 if "forward" in row["group"] else 1e3
            row["seconds"] = [factor * seconds for seconds in row["seconds"]]
    earlier = tmp_path / "earlier.jsonl"
    write_rows(earlier, rows)
    options = ["--out", str(tmp_path), "--rounds", "1", "--parts", "ops", "--compare"]
    assert main(["bench", *TINY, *options, str(earlier)]) == 1
    rows = [row for row in table_rows(capsys.readouterr().out) if row[0][-4:] in ("sion", "ment")]
    changes = {tuple(row[:3]) for row in rows}
    assert ("regression", "mixed_sum, 64x8x8x8, forward: ours", "time") in changes
    assert ("improvement", "mixed_sum, 64x8x8x8, backward: ours", "time") in changes


def test_fit(tmp_path, monkeypatch, capsys):
    """With planted costs every mode ends at the batch that its memory allows."""
    each = {"plain": 100, "ours, store": 20, "ours, recompute": 5}
    monkeypatch.setattr(fit, "COMPARED", dict.fromkeys(each))

    def planted(arm, size, device, threads):
        return {"peak_bytes": 1000 + each[arm] * size[0]}

    monkeypatch.setattr(fit, "measure_step", planted)
    monkeypatch.setattr(fit, "time_step", lambda arm, size, device, threads: size[0] / each[arm])
    options = ["--out", str(tmp_path), "--fit", "--memory-limit", str(5000 / 2**30)]
    assert main(["bench", *TINY_NETWORK, *options]) == 0
    rows = {row[0]: row[1:] for row in table_rows(capsys.readouterr().out)}
    assert rows["plain"] == ["32", "0.0 of 0.0", "16", "0.16", "100.0"]
    assert rows["ours, store"][::2] == ["192", "48", "20.0"]
    assert rows["ours, recompute"][::2] == ["800", "192", "5.0"]
