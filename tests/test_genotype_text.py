"""Genotypes as other code prints them."""

from __future__ import annotations

import pytest
from conftest import seed_of_run

from adarts_ext.cli import main
from adarts_ext.draw import draw_genotype
from adarts_ext.genotype import DARTS_V2, KNOWN, random_genotype
from adarts_ext.genotype_text import format_darts, parse_genotype
from adarts_ext.nasbench301 import to_nasbench301
from adarts_ext.retrain import RetrainConfig
from adarts_ext.retrain.cost import ImageKind, network_cost

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
        (text("[('sep_conv_3x3', 0, 2), ('skip_connect', 1, 2)]"), "a state before it, got ('sep"),
        (text("[('sep_conv_3x3', 2, 0)] * 3"), "normal: unexpected"),
        (text("[('sep_conv_3x3', 2, 0), ('sep_conv_3x3', 2, 1), ('none', 2, 0)]"), "got 3 to node"),
        (text("[('sep_conv_3x3', 10**9, 0)]"), "normal: unexpected"),
        (text("[('sep_conv_3x3', 999999, 0)]"), "expected triples (operation, node, source), got"),
        (text("[('sep_conv_3x3', 2, 0), ('none', 1)]"), "expected a pair"),
        (text("[('sep_conv_3x3', 2, 0)]", concat="['a']"), "normal_concat: expected nodes"),
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


# Published with FairDARTS; comments there say 2.83 M and 3.88 M parameters, which include the
# auxiliary head, and of the second 536 M multiply-adds.
FAIR_DARTS_A = (
    "Genotype(normal=[('sep_conv_3x3', 2, 0), ('sep_conv_5x5', 2, 1), ('max_pool_3x3', 4, 0), "
    "('sep_conv_3x3', 5, 0)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 2, 0), "
    "('avg_pool_3x3', 2, 1), ('avg_pool_3x3', 3, 0), ('dil_conv_5x5', 3, 1), "
    "('avg_pool_3x3', 4, 0), ('sep_conv_5x5', 4, 1), ('skip_connect', 5, 0), "
    "('skip_connect', 5, 1)], reduce_concat=range(2, 6))"
)
FAIR_DARTS_B = (
    "Genotype(normal=[('sep_conv_3x3', 2, 0), ('sep_conv_3x3', 2, 1), ('sep_conv_3x3', 3, 1), "
    "('dil_conv_3x3', 4, 0), ('sep_conv_5x5', 4, 1), ('dil_conv_5x5', 5, 1)], "
    "normal_concat=range(2, 6), reduce=[('skip_connect', 2, 0), ('dil_conv_3x3', 2, 1), "
    "('skip_connect', 3, 0), ('dil_conv_3x3', 3, 1), ('max_pool_3x3', 4, 0), "
    "('sep_conv_3x3', 4, 1), ('skip_connect', 5, 2), ('max_pool_3x3', 5, 0)], "
    "reduce_concat=range(2, 6))"
)


def cost_of(genotype):
    return network_cost(genotype, RetrainConfig(), ImageKind(3, (32, 32), 10))


def test_genotypes_of_fair_darts_are_the_networks_that_it_says(tmp_path):
    genotype = parse_genotype(FAIR_DARTS_A)
    assert genotype.normal_concat == (2, 4, 5)
    assert genotype.normal[2:6] == (
        *(("none", 0), ("none", 1)),
        *(("max_pool_3x3", 0), ("none", 1)),
    )
    assert cost_of(genotype)["parameters_with_auxiliary"] // 10_000 == 283
    assert parse_genotype(format_darts(genotype)) == genotype
    with pytest.raises(ValueError, match=r"NAS-Bench-301: normal: expected 4 nodes"):
        to_nasbench301(genotype)
    draw_genotype(genotype, tmp_path / "cells.svg")
    other = cost_of(parse_genotype(FAIR_DARTS_B))
    assert other["parameters_with_auxiliary"] // 10_000 == 388
    assert other["macs"] // 10**6 == 536


def test_what_leaves_a_node_without_edges_is_left_out_too():
    edges = "[('skip_connect', 3, 0), ('sep_conv_3x3', 4, 2), ('max_pool_3x3', 4, 3)]"
    genotype = parse_genotype(text(edges, concat="range(2, 6)"))
    assert genotype.normal == (
        *(("none", 0), ("none", 1)),
        *(("skip_connect", 0), ("none", 1)),
        *(("none", 2), ("max_pool_3x3", 3)),
        *(("none", 0), ("none", 1)),
    )
    assert genotype.normal_concat == (3, 4)


def test_what_is_too_large_to_draw_is_refused(tmp_path, capsys):
    path = tmp_path / "large.json"
    random_genotype(seed_of_run(), 65).save(path)
    assert main(["draw", str(path), "--out", str(tmp_path / "cells.svg")]) == 1
    assert "expected cells of at most 64 nodes, got 65" in capsys.readouterr().err
    path.write_text("[" * 2_000_000)
    assert main(["draw", str(path)]) == 1
    assert "too large for a genotype" in capsys.readouterr().err
