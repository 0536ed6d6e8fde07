"""Genotypes: validation, JSON, files, derivation from hand-made parameters, random drawing."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import pytest
import torch

from adarts_ext.genotype import (
    ADARTS_V1,
    ADARTS_V2,
    DARTS_V1,
    DARTS_V2,
    KNOWN,
    PC_DARTS,
    PC_DARTS_IMAGENET,
    PRIMITIVES,
    Genotype,
    derive,
    derive_from_scores,
    incoming_edges,
    random_genotype,
)
from adarts_ext.genotype.candidates import on_every_edge
from adarts_ext.nn.candidates import parse_space

CELL = (("sep_conv_3x3", 0), ("skip_connect", 1))
FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")


def make(**changes) -> Genotype:
    fields = {"normal": CELL, "normal_concat": (2,), "reduce": CELL, "reduce_concat": (2,)}
    return Genotype(**(fields | changes))


def column(name: str) -> int:
    return PRIMITIVES.index(name)


def test_primitives_are_in_the_order_of_darts():
    assert PRIMITIVES == (
        "none",
        "max_pool_3x3",
        "avg_pool_3x3",
        "skip_connect",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
    )


def test_known_genotypes_have_four_nodes_and_their_names():
    assert KNOWN == {
        "ADARTS_V1": ADARTS_V1,
        "ADARTS_V2": ADARTS_V2,
        "PC_DARTS": PC_DARTS,
        "PC_DARTS_IMAGENET": PC_DARTS_IMAGENET,
        "DARTS_V1": DARTS_V1,
        "DARTS_V2": DARTS_V2,
    }
    for genotype in KNOWN.values():
        assert len(genotype.normal) == len(genotype.reduce) == 8
        assert genotype.normal_concat == genotype.reduce_concat == (2, 3, 4, 5)


def test_lists_and_ranges_become_tuples_and_equal_genotypes_hash_alike():
    listed = make(normal=[["sep_conv_3x3", 0], ["skip_connect", 1]], normal_concat=range(2, 3))
    assert listed == make()
    assert hash(listed) == hash(make())
    assert listed.normal == CELL
    assert listed.normal_concat == (2,)


def test_a_genotype_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().normal = CELL


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normal": (("conv_9x9", 0), ("skip_connect", 1))}, r"normal\[0\].*conv_9x9.*sep_conv"),
        (
            {"reduce": (("skip_connect", 0), ("skip_connect", 2))},
            r"reduce\[1\].*source 2 of node 2",
        ),
        ({"normal": (("skip_connect", -1), ("skip_connect", 0))}, r"source -1"),
        ({"normal": CELL[:1]}, r"normal: expected two edges .* got 1"),
        ({"normal": ()}, r"got 0"),
        ({"normal": "skip_connect"}, r"expected a sequence"),
        ({"normal": ("skip_connect", "skip_connect")}, r"expected a pair"),
        ({"normal": (("skip_connect", 0, 1), ("skip_connect", 0))}, r"expected a pair"),
        ({"normal": (("skip_connect", 0.5), ("skip_connect", 0))}, r"expected an integer, got 0.5"),
        ({"normal": (("skip_connect", True), ("skip_connect", 0))}, r"integer, got True"),
        ({"normal_concat": (3,)}, r"normal_concat: expected distinct nodes of 2 to 2, got \(3,\)"),
        ({"normal_concat": (1,)}, r"normal_concat"),
        ({"reduce_concat": (2, 2)}, r"reduce_concat"),
        ({"reduce_concat": ()}, r"reduce_concat"),
        ({"reduce_concat": 2}, r"reduce_concat: expected a sequence"),
    ],
)
def test_an_impossible_genotype_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        make(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", KNOWN)
def test_json_round_trip(name, tmp_path):
    genotype = KNOWN[name]
    assert Genotype.from_json(genotype.to_json()) == genotype
    assert tuple(json.loads(genotype.to_json())) == FIELDS
    genotype.save(tmp_path / "genotype.json")
    assert Genotype.load(tmp_path / "genotype.json") == genotype


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1, 2]", r"expected an object with keys normal, .* got \[1, 2\]"),
        ("{}", "got keys none"),
        ('{"normal": []}', "got keys normal"),
        (make().to_json().replace("skip_connect", "skip"), "unknown operation 'skip'"),
        (make().to_json().replace("1]", "null]"), "expected an integer, got None"),
    ],
)
def test_damaged_json_is_refused(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Genotype.from_json(text)
    path = tmp_path / "genotype.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"genotype\.json: "):
        Genotype.load(path)


def test_an_absent_file_is_reported_as_such(tmp_path):
    with pytest.raises(FileNotFoundError):
        Genotype.load(tmp_path / "absent.json")


def test_incoming_edges_of_four_nodes():
    assert incoming_edges(4) == [slice(0, 2), slice(2, 5), slice(5, 9), slice(9, 14)]


def test_derive_keeps_the_two_strongest_edges_by_falling_weight():
    alphas = torch.zeros(14, 8)
    alphas[0, column("skip_connect")] = 1.0  # node 2 has two edges: both stay, the strong first
    alphas[1, column("dil_conv_5x5")] = 2.0
    alphas[2, column("sep_conv_3x3")] = 1.0  # node 3, from 0
    alphas[4, column("sep_conv_5x5")] = 3.0  # node 3, from 2
    alphas[5, column("none")] = 9.0  # node 4, from 0: strong in `none` only, hence weakest
    alphas[6, column("avg_pool_3x3")] = 0.5
    alphas[8, column("max_pool_3x3")] = 0.6
    alphas[13, column("dil_conv_3x3")] = -5.0  # node 5: the others gain, by softmax
    alphas[12, column("dil_conv_3x3")] = -4.0
    genotype = derive(alphas, torch.zeros(14, 8))
    assert genotype.normal == (
        ("dil_conv_5x5", 1),
        ("skip_connect", 0),
        ("sep_conv_5x5", 2),
        ("sep_conv_3x3", 0),
        ("max_pool_3x3", 3),
        ("avg_pool_3x3", 1),
        ("max_pool_3x3", 4),
        ("max_pool_3x3", 3),
    )
    assert genotype.normal_concat == genotype.reduce_concat == (2, 3, 4, 5)


def test_derive_breaks_ties_towards_the_lower_edge_and_operation():
    expected = (("max_pool_3x3", 0), ("max_pool_3x3", 1)) * 4
    zeros = torch.zeros(14, 8), torch.zeros(14)
    assert derive(zeros[0], zeros[0]).normal == expected
    assert derive(zeros[0], zeros[0], zeros[1], zeros[1]).reduce == expected


@pytest.mark.parametrize("seed", range(20))
def test_derive_ties_edges_whose_alphas_are_permutations_of_each_other(seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(7, generator=generator)
    alphas = torch.zeros(5, 8)
    for edge in range(5):
        alphas[edge, 1:] = values[torch.randperm(7, generator=generator)]
    assert [source for _, source in derive(alphas, alphas).normal] == [0, 1, 0, 1]


def test_derive_weighs_operations_by_the_softmax_of_the_betas_of_their_node():
    alphas = torch.zeros(14, 8)
    alphas[2, column("sep_conv_3x3")] = 1.0
    alphas[3, column("skip_connect")] = 0.5
    betas = torch.zeros(14)
    betas[3] = 2.0
    betas[4] = 1.0
    betas[0] = 50.0  # another node's betas do not matter
    normal = derive(alphas, alphas, betas, betas).normal
    assert normal[2:4] == (("skip_connect", 1), ("max_pool_3x3", 2))
    assert derive(alphas, alphas).normal[2:4] == (("sep_conv_3x3", 0), ("skip_connect", 1))


def test_derive_uses_each_cells_own_parameters():
    alphas_normal, alphas_reduce = torch.zeros(2, 8), torch.zeros(2, 8)
    alphas_normal[:, 3], alphas_reduce[:, 4] = 1.0, 1.0
    betas_normal, betas_reduce = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    genotype = derive(alphas_normal, alphas_reduce, betas_normal, betas_reduce)
    assert genotype.normal == (("skip_connect", 1), ("skip_connect", 0))
    assert genotype.reduce == (("sep_conv_3x3", 0), ("sep_conv_3x3", 1))


def test_derive_leaves_its_arguments_alone_and_takes_any_float_dtype():
    alphas = torch.randn(14, 8, dtype=torch.bfloat16).requires_grad_()
    before = alphas.detach().clone()
    assert derive(alphas, alphas) == derive(alphas.double(), alphas.double())
    assert torch.equal(alphas, before)
    assert alphas.grad is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(13, 8), torch.zeros(14, 8)), r"alphas_normal has shape \(13, 8\)"),
        ((torch.zeros(14, 8), torch.zeros(14, 7)), r"alphas_reduce has shape \(14, 7\)"),
        ((torch.zeros(0, 8), torch.zeros(14, 8)), r"alphas_normal has shape \(0, 8\)"),
        ((torch.zeros(8), torch.zeros(14, 8)), r"alphas_normal has shape \(8,\)"),
        ((torch.zeros(14, 8), torch.zeros(14, 8), torch.zeros(13)), r"betas_normal .* \(14,\)"),
        ((torch.full((2, 8), torch.nan), torch.zeros(2, 8)), r"alphas_normal .* not finite"),
        (
            (torch.zeros(2, 8), torch.zeros(2, 8), None, torch.full((2,), torch.inf)),
            r"betas_reduce .* not finite",
        ),
    ],
)
def test_derive_refuses_parameters_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        derive(*arguments)


def test_random_genotype_is_a_function_of_its_seed():
    assert random_genotype(3) == random_genotype(3)
    assert len({random_genotype(seed) for seed in range(20)}) == 20


def test_random_genotype_draws_every_operation_and_source_but_none():
    operations: Counter[str] = Counter()
    for seed in range(200):
        genotype = random_genotype(seed, steps=3)
        for cell in (genotype.normal, genotype.reduce):
            assert len(cell) == 6
            for node in range(3):
                assert cell[2 * node][1] != cell[2 * node + 1][1]
            operations.update(name for name, _ in cell)
        assert genotype.normal_concat == genotype.reduce_concat == (2, 3, 4)
    assert set(operations) == set(PRIMITIVES) - {"none"}
    assert {source for seed in range(50) for _, source in random_genotype(seed, 3).normal[4:]} == {
        0,
        1,
        2,
        3,
    }


@pytest.mark.parametrize("space", ["s1", "s2", "s3", "s4"])
def test_random_genotype_draws_what_each_edge_may_have(space):
    candidates = parse_space(space)
    for cell in ("normal", "reduce"):
        of_edges = on_every_edge("test", candidates, cell, edges=14)
        drawn = set()
        for seed in range(200):
            operations = getattr(random_genotype(seed, 4, candidates), cell)
            for place, (name, source) in enumerate(operations):
                drawn.add((incoming_edges(4)[place // 2].start + source, name))
        expected = {(edge, name) for edge, names in enumerate(of_edges) for name in names}
        assert drawn == {(edge, name) for edge, name in expected if name != "none"}


def test_random_genotype_is_what_it_was_in_the_space_of_darts():
    normal = (("max_pool_3x3", 1), ("skip_connect", 0))
    reduce = (("dil_conv_5x5", 1), ("dil_conv_5x5", 0))
    assert random_genotype(0, steps=1) == Genotype(normal, (2,), reduce, (2,))


def test_random_genotype_refuses_candidates_that_do_not_fit():
    with pytest.raises(ValueError, match=r"random_genotype: .* got 'pool'"):
        random_genotype(0, candidates=["pool"])
    with pytest.raises(ValueError, match="for each of 5 edges, got those of 14"):
        random_genotype(0, steps=2, candidates=parse_space("s1"))


def test_random_genotype_needs_a_node():
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        random_genotype(0, steps=0)


@pytest.mark.parametrize("betas", [True, False])
def test_scores_that_are_the_weights_give_what_derive_gives(betas):
    generator = torch.Generator().manual_seed(0)
    for steps in (1, 4):
        nodes = incoming_edges(steps)
        edges = nodes[-1].stop
        alphas = [torch.randn(edges, 8, generator=generator).double() for _ in range(2)]
        edge_betas = [torch.randn(edges, generator=generator).double() for _ in range(2)]
        scores = [one.softmax(-1) for one in alphas]
        if betas:
            for cell, own in zip(scores, edge_betas, strict=True):
                for node in nodes:
                    cell[node] *= own[node].softmax(0)[:, None]
        expected = derive(*alphas, *(edge_betas if betas else ()))
        assert derive_from_scores(*scores) == expected
        assert derive_from_scores(*(torch.zeros_like(one) for one in alphas)) == derive(
            *(torch.zeros_like(one) for one in alphas)
        )


def test_scores_that_cannot_be_compared_are_refused():
    scores = torch.zeros(5, 8)
    with pytest.raises(ValueError, match=r"scores_reduce has shape \(4, 8\), expected "):
        derive_from_scores(scores, scores[:4])
    scores[3, 2] = float("nan")
    with pytest.raises(ValueError, match="scores_normal holds a value that is not finite"):
        derive_from_scores(scores, torch.zeros(5, 8))
    with pytest.raises(ValueError, match="candidates: expected at least one candidate that is not"):
        derive_from_scores(torch.zeros(5, 8), torch.zeros(5, 8), candidates=("none",))


def test_edges_that_weigh_too_little_are_left_out():
    alphas = torch.full((9, 8), -4.0)
    strong = {0: "skip_connect", 4: "sep_conv_3x3", 5: "max_pool_3x3", 7: "sep_conv_5x5"}
    for edge, name in strong.items():  # node 2 from 0; node 3 from 2; node 4 from 0 and 2
        alphas[edge, column(name)] = 2.0
    alphas[2, column("dil_conv_3x3")] = 1.0  # node 3 from 0, too little
    genotype = derive(alphas, alphas, activation="sigmoid", threshold=0.85)
    assert genotype.normal == (
        *(("skip_connect", 0), ("none", 1)),
        *(("sep_conv_3x3", 2), ("none", 0)),
        *(("max_pool_3x3", 0), ("sep_conv_5x5", 2)),
    )
    assert genotype.normal_concat == (2, 3, 4)
    alphas[0] = -4.0  # node 2 has nothing now, so that node 3 has nothing either
    genotype = derive(alphas, torch.zeros(9, 8), activation="sigmoid", threshold=0.85)
    assert genotype.normal[2:] == (
        *(("none", 2), ("none", 0)),
        *(("max_pool_3x3", 0), ("none", 2)),
    )
    assert genotype.normal_concat == (4,)
    whole = derive(alphas, torch.zeros(9, 8), activation="sigmoid")
    assert (genotype.reduce, genotype.reduce_concat) == (whole.reduce, (2, 3, 4))


def test_the_threshold_is_for_the_operations_not_for_the_betas():
    alphas = torch.zeros(2, 8)
    alphas[:, column("skip_connect")] = 3.0
    betas = torch.tensor([0.0, 5.0])
    options = {"activation": "sigmoid", "threshold": 0.9}
    genotype = derive(alphas, alphas, betas, betas, **options)
    assert genotype.normal == (("skip_connect", 1), ("skip_connect", 0))
