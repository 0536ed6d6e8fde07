"""Genotypes as configurations of NAS-Bench-301."""

from __future__ import annotations

import json

import pytest

from adarts_ext.cli import main
from adarts_ext.genotype import KNOWN, Genotype, random_genotype
from adarts_ext.genotype_text import format_darts, parse_genotype
from adarts_ext.nasbench301 import from_nasbench301, to_nasbench301

# Typed by hand from the search space that the benchmark publishes (its configspace.json).
BY_HAND = {
    "edge_normal_0": "sep_conv_3x3",
    "edge_normal_1": "max_pool_3x3",
    "inputs_node_normal_3": "0_2",
    "edge_normal_2": "skip_connect",
    "edge_normal_4": "dil_conv_5x5",
    "inputs_node_normal_4": "1_3",
    "edge_normal_6": "sep_conv_5x5",
    "edge_normal_8": "avg_pool_3x3",
    "inputs_node_normal_5": "3_4",
    "edge_normal_12": "dil_conv_3x3",
    "edge_normal_13": "skip_connect",
    "edge_reduce_0": "max_pool_3x3",
    "edge_reduce_1": "max_pool_3x3",
    "inputs_node_reduce_3": "1_2",
    "edge_reduce_3": "sep_conv_3x3",
    "edge_reduce_4": "sep_conv_3x3",
    "inputs_node_reduce_4": "0_1",
    "edge_reduce_5": "dil_conv_3x3",
    "edge_reduce_6": "dil_conv_3x3",
    "inputs_node_reduce_5": "0_2",
    "edge_reduce_9": "skip_connect",
    "edge_reduce_11": "avg_pool_3x3",
}
BY_HAND = {f"NetworkSelectorDatasetInfo:darts:{name}": value for name, value in BY_HAND.items()}
FOUND = Genotype(
    normal=[
        *(("sep_conv_3x3", 0), ("max_pool_3x3", 1)),
        *(("skip_connect", 0), ("dil_conv_5x5", 2)),
        *(("sep_conv_5x5", 1), ("avg_pool_3x3", 3)),
        *(("dil_conv_3x3", 3), ("skip_connect", 4)),
    ],
    normal_concat=range(2, 6),
    reduce=[
        *(("max_pool_3x3", 0), ("max_pool_3x3", 1)),
        *(("sep_conv_3x3", 1), ("sep_conv_3x3", 2)),
        *(("dil_conv_3x3", 0), ("dil_conv_3x3", 1)),
        *(("skip_connect", 0), ("avg_pool_3x3", 2)),
    ],
    reduce_concat=range(2, 6),
)
OF_TRAINING = {
    "CreateImageDataLoader:batch_size": 96,
    "NetworkSelectorDatasetInfo:darts:auxiliary": True,
    "NetworkSelectorDatasetInfo:darts:layers": 20,
    "OptimizerSelector:sgd:learning_rate": 0.025,
}


def key(name: str) -> str:
    return f"NetworkSelectorDatasetInfo:darts:{name}"


def by_source(genotype: Genotype) -> Genotype:
    """The same cells, the two edges into each node by rising source."""

    def ordered(pairs):
        nodes = [pairs[at : at + 2] for at in range(0, len(pairs), 2)]
        return [pair for node in nodes for pair in sorted(node, key=lambda pair: pair[1])]

    concats = genotype.normal_concat, genotype.reduce_concat
    return Genotype(ordered(genotype.normal), concats[0], ordered(genotype.reduce), concats[1])


def test_a_configuration_typed_by_hand():
    assert from_nasbench301(BY_HAND) == FOUND
    assert from_nasbench301(OF_TRAINING | BY_HAND) == FOUND
    assert to_nasbench301(FOUND) == BY_HAND


@pytest.mark.parametrize("genotype", [*KNOWN.values(), *map(random_genotype, range(20))])
def test_what_is_written_is_read(genotype):
    config = to_nasbench301(genotype)
    assert len(config) == 22
    assert from_nasbench301(config) == by_source(genotype)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("edge_normal_0", None, "edge_normal_0: expected one of max_pool_3x3, .* got none"),
        ("edge_normal_12", None, "edge_normal_12: expected one of max_pool_3x3, .* got none"),
        ("edge_reduce_1", "none", "edge_reduce_1: expected one of max_pool_3x3, .* got 'none'"),
        ("edge_reduce_1", ["x"], r"got \['x'\]"),
        ("inputs_node_normal_3", None, "inputs_node_normal_3: expected one of 0_1, 0_2, 1_2, got"),
        ("inputs_node_normal_3", "1_3", "inputs_node_normal_3: expected .*, got '1_3'"),
        ("inputs_node_normal_3", "2_0", "inputs_node_normal_3: expected .*, got '2_0'"),
        ("inputs_node_reduce_5", "2_2", "inputs_node_reduce_5: expected .*, got '2_2'"),
        ("edge_normal_3", "skip_connect", "expected no .*edge_normal_3, as no node takes it"),
        ("inputs_node_normal_6", "0_1", "expected no .*inputs_node_normal_6"),
    ],
)
def test_what_the_search_space_has_not_is_refused(name, value, message):
    config = BY_HAND | {key(name): value}
    if value is None:
        del config[key(name)]
    with pytest.raises(ValueError, match=message) as caught:
        from_nasbench301(config)
    assert "\n" not in str(caught.value)


def test_what_is_no_configuration_is_refused():
    with pytest.raises(ValueError, match=r"expected a configuration, got \['edge_normal_0'\]"):
        from_nasbench301(["edge_normal_0"])


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        (random_genotype(0, steps=3), r"normal: expected 4 nodes .* got \(2, 3, 4\)"),
        (
            Genotype(FOUND.normal, range(2, 6), FOUND.reduce, (3, 4, 5)),
            r"reduce: expected 4 nodes .* got \(3, 4, 5\)",
        ),
        (
            Genotype((*FOUND.normal[:7], ("none", 1)), range(2, 6), FOUND.reduce, range(2, 6)),
            "normal: node 5: expected one of max_pool_3x3, .* got none",
        ),
        (
            Genotype(FOUND.normal, range(2, 6), [("skip_connect", 1)] * 8, range(2, 6)),
            "reduce: node 2: expected two different sources, got 1 twice",
        ),
    ],
)
def test_what_nasbench301_cannot_express_is_refused(genotype, message):
    with pytest.raises(ValueError, match=message):
        to_nasbench301(genotype)


def test_commands_read_and_print_it(tmp_path, capsys):
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(OF_TRAINING | BY_HAND))
    assert main(["draw", str(path), "--format", "darts"]) == 0
    assert capsys.readouterr().out == format_darts(FOUND) + "\n"
    assert main(["draw", str(path), "--format", "nasbench301"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == BY_HAND
    assert parse_genotype(printed) == FOUND
    path.write_text(printed[:-3])
    assert main(["draw", str(path)]) == 1
    assert "architecture.json: genotype: not JSON" in capsys.readouterr().err
