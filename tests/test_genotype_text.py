"""Genotypes as other code prints them."""

from __future__ import annotations

import pytest
from conftest import seed_of_run

from adarts_ext.cli import main
from adarts_ext.genotype import DARTS_V2, KNOWN, random_genotype
from adarts_ext.genotype_text import format_darts, parse_genotype

PAIRS = "[('sep_conv_3x3', 0), ('skip_connect', 1)]"


def text(normal=PAIRS, concat="range(2, 3)", reduce=PAIRS) -> str:
    return f"Genotype(normal={normal}, normal_concat={concat}, reduce={reduce}, reduce_concat=[2])"


@pytest.mark.parametrize(
    "genotype", [*KNOWN.values(), random_genotype(1, 1), random_genotype(2, 7)]
)
def test_what_is_printed_is_read(genotype):
    assert parse_genotype(format_darts(genotype)) == genotype
    assert parse_genotype(genotype.to_json()) == genotype


def test_a_genotype_is_printed_as_darts_does():
    assert format_darts(parse_genotype(text())) == text().replace("[2])", "range(2, 3))")


@pytest.mark.parametrize(
    "given",
    [
        f"\n  {text()}\n",
        f"epoch 1 {text(PAIRS.replace('skip', 'none'))}\n11/25 INFO genotype = {text()}\n(done)",
        f"genotypes.{text()}",
        text(f"[{PAIRS}]"),
        text("[[['sep_conv_3x3', 0], ['skip_connect', 1]]]"),
        text("(('sep_conv_3x3', 0), ('skip_connect', 1))"),
        text(concat="[2]"),
        text(concat="list(range(2, 3))"),
        text().replace(", reduce", ",\n    reduce"),
        f"Genotype({PAIRS}, [2], {PAIRS}, [2])",
    ],
)
def test_forms(given):
    assert parse_genotype(given) == parse_genotype(text())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nothing", "not JSON"),
        ("Genotype(", "not as DARTS prints it"),
        ("Genotype(normal=[)", "not as DARTS prints it"),
        (f"Genotype(normal={PAIRS})", "normal_concat, reduce, reduce_concat is missing"),
        (text().replace("Genotype(", "Genotype(other=1, "), "got other"),
        (text("__import__('os').getcwd()"), "normal: unexpected"),
        (text("[x for x in ()]"), "normal: unexpected"),
        (text(concat="range(10**12)"), "normal_concat: unexpected"),
        (text(concat="range(2, 3000000)"), "normal_concat: unexpected"),
        (text("[('sep_conv_3x3', 0, 2), ('skip_connect', 1, 2)]"), "got the triple"),
        (text("[(0, 1), (2, 1)]"), "got numbers"),
        (text("[[(0, 1), (2, 1)]]"), "got numbers"),
        (text(f"[{PAIRS[:-1]}, ('skip_connect', 1)]]"), "two edges to each node"),
        (text("[('conv_7x1_1x7', 0), ('skip_connect', 1)]"), "unknown operation 'conv_7x1_1x7'"),
        (text("[" * 400 + "]" * 400), "genotype: "),
        ("Genotype" + "(" * 100_000, "not as DARTS prints it"),
        ("x" * 1_000_001, "expected at most 1000000 characters"),
    ],
)
def test_what_is_no_genotype_is_refused_in_one_line(given, message):
    with pytest.raises(ValueError, match="genotype") as caught:
        parse_genotype(given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_commands_take_them_from_files_and_as_they_are(tmp_path, capsys):
    log = tmp_path / "log.txt"
    log.write_text(f"epoch 49 genotype = {format_darts(DARTS_V2)}\nvalid_acc 97\n")
    for given in (str(log), format_darts(DARTS_V2), "DARTS_V2"):
        assert main(["draw", given, "--format", "darts"]) == 0
        assert capsys.readouterr().out == format_darts(DARTS_V2) + "\n"
    for suffix in ("svg", "png", "pdf"):
        assert main(["draw", str(log), "--out", str(tmp_path / f"cells.{suffix}")]) == 0
    assert (tmp_path / "cells.pdf").read_bytes().startswith(b"%PDF")


def test_what_is_too_large_to_draw_is_refused(tmp_path, capsys):
    path = tmp_path / "large.json"
    random_genotype(seed_of_run(), 65).save(path)
    assert main(["draw", str(path), "--out", str(tmp_path / "cells.svg")]) == 1
    assert "expected cells of at most 64 nodes, got 65" in capsys.readouterr().err
    path.write_text("[" * 2_000_000)
    assert main(["draw", str(path)]) == 1
    assert "too large for a genotype" in capsys.readouterr().err
