"""Candidates of one's own in both networks, noise among them, and those that differ by edge."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from adarts_ext.derivation import Perturbation, operation_strengths
from adarts_ext.genotype import PRIMITIVES, Genotype, derive_from_scores
from adarts_ext.genotype.operations import OWN, draws
from adarts_ext.nn import (
    DerivedNetwork,
    EdgeCandidates,
    OperationWeights,
    PartialMixedOp,
    SearchCell,
    SearchNetwork,
    load_candidates,
    register_candidate,
)
from adarts_ext.nn.candidates import parse_space

SEP3 = PRIMITIVES.index("sep_conv_3x3")


def conv_3x3(channels: int, stride: int, affine: bool) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


def make(**options) -> SearchNetwork:
    torch.manual_seed(0)
    small = {"proportion": 2, "steps": 1, "in_channels": 1}
    return SearchNetwork(4, 3, 3, **small | options).double()


@pytest.fixture
def mine(own_candidates):
    register_candidate("mine", conv_3x3)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 1, 16, 16, generator=generator, dtype=torch.float64)


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("memory", ["store", "recompute"])
@pytest.mark.parametrize("selection", ["attention", "first", "all"])
def test_it_is_computed_as_any_other(selection, memory, images):
    """With the layers of ``skip_connect`` in its place the network is that of ``skip_connect``."""
    network = make(candidates=["sep_conv_3x3", "mine"], selection=selection, memory=memory)
    plain = make(candidates=["sep_conv_3x3"], selection=selection, backend="reference")
    assert network.columns == (*PRIMITIVES, "mine")
    assert {cell.kernels() for cell in network.cells} == {
        "operator by operator (no kernels for candidate mine)"
    }
    places = torch.tensor([SEP3, 8])
    weights = network.operation_weights().normal[:, places]
    assert weights.sum().item() == pytest.approx(2)
    assert weights.min() > 0.4
    for cell, other in zip(network.cells, plain.cells, strict=True):
        for edge, like in zip(cell._ops, other._ops, strict=True):
            edge._ops[8] = copy.deepcopy(like._ops[SEP3])  # both are one and the same
            edge._ops[SEP3] = like._ops[SEP3]
    plain.load_state_dict(
        {k: v for k, v in network.state_dict().items() if k in plain.state_dict()}
        | {k: v for k, v in plain.state_dict().items() if "alphas" in k}
    )
    given = OperationWeights(*(w.detach().requires_grad_() for w in network.operation_weights()))
    logits = network(images, given)
    torch.testing.assert_close(logits, plain(images), rtol=1e-9, atol=1e-12)
    logits.square().sum().backward()
    for weights in given:
        own, like = weights.grad[:, places].unbind(-1)
        torch.testing.assert_close(own, like, rtol=1e-9, atol=1e-12)
        assert own.abs().min() > 0
        assert weights.grad.count_nonzero() == own.numel() + like.numel()
    assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.usefixtures("mine")
def test_edges_without_it_run_fused(images):
    candidates = EdgeCandidates(
        normal=(("skip_connect", "sep_conv_3x3"),) * 2, reduce=(("mine",), ("none", "avg_pool_3x3"))
    )
    network, plain = make(candidates=candidates), make(candidates=candidates, backend="reference")
    plain.load_state_dict(network.state_dict())
    assert [cell.is_fused for cell in network.cells] == [True, False, False]
    assert network.cells[1]._ops[1].kernels() == "fused cell"
    results = []
    for one in (network, plain):
        logits = one(images)
        logits.square().sum().backward()
        results.append([logits, *(p.grad for p in one.parameters()), one.alphas_reduce.grad])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert {op for op, _ in network.genotype().reduce} == {"mine", "avg_pool_3x3"}
    assert torch.equal(
        network.operation_weights().reduce == 0,
        torch.tensor([[True] * 8 + [False], [False, True] + [False] + [True] * 6]),
    )


@pytest.mark.usefixtures("mine")
def test_it_is_left_out_of_a_pass(images):
    network = make(candidates=["skip_connect", "mine"], skip_zeros=True)
    normal, reduce = network.operation_weights().detach()
    normal[:, 8] = 0
    network(images, OperationWeights(normal, reduce)).sum().backward()
    own = [edge._ops[8] for cell in network.cells for edge in cell._ops if not cell.reduction]
    assert all(one[1].weight.grad is None and not one[2].running_mean.any() for one in own)
    own = [edge._ops[8] for cell in network.cells for edge in cell._ops if cell.reduction]
    assert all(one[1].weight.grad is not None and one[2].running_mean.any() for one in own)


@pytest.mark.usefixtures("mine")
def test_the_derived_network_has_it():
    edges = (("mine", 0), ("mine", 1), ("noise", 0), ("skip_connect", 2))
    genotype = Genotype(edges, (2, 3), edges, (2, 3))
    assert Genotype.from_json(genotype.to_json()) == genotype
    network = DerivedNetwork(genotype, init_channels=4, layers=3, auxiliary=False)
    for cell in network.cells:
        assert cell._ops[0][2].affine
    network(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_a_name_that_is_not_registered_is_refused_with_a_hint():
    edges = (("nobody", 0), ("skip_connect", 1))
    hint = r"has to be registered first, by adarts_ext.nn.register_candidate or --candidates"
    with pytest.raises(ValueError, match=f"unknown operation 'nobody', .*{hint}"):
        Genotype(edges, (2,), edges, (2,))
    with pytest.raises(ValueError, match=f"got 'nobody'.*{hint}"):
        make(candidates=["nobody"])
    with pytest.raises(ValueError, match=f"^space: .*got 'nobody'.*{hint}"):
        parse_space("darts,nobody")


def to_wrong_shape(channels, stride, affine):
    return nn.Conv2d(channels, channels, 1)


def to_error(channels, stride, affine):
    return nn.Conv2d(channels + 1, channels, 1)


@pytest.mark.parametrize(
    ("name", "builder", "message"),
    [
        (
            "conv",
            to_wrong_shape,
            r"conv: builder\(16, 2, False\): expected an output of shape "
            r"\(2, 16, 8, 8\), got \(2, 16, 16, 16\)",
        ),
        (
            "conv",
            to_error,
            r"conv: builder\(16, 1, False\): on a batch of shape \(2, 16, 16, 16\): "
            "RuntimeError",
        ),
        ("conv", lambda channels: nn.Identity(), r"builder\(16, 1, False\): TypeError: .*3 were"),
        ("conv", lambda *_: 3, "expected a torch.nn.Module, got 3"),
        ("conv", nn.Identity(), r"expected a function|TypeError"),
        ("conv", "sep", r"builder: expected a function of \(channels, stride, affine\), got 'sep'"),
        ("skip_connect", conv_3x3, "name: a candidate is called skip_connect already"),
        ("noise", conv_3x3, "name: a candidate is called noise already"),
        ("s3", conv_3x3, "name: a space is called s3 already"),
        ("3x3", conv_3x3, "name: expected letters, digits and underscores, .* got '3x3'"),
    ],
)
def test_what_is_no_candidate_is_refused(name, builder, message, own_candidates):
    with pytest.raises((ValueError, TypeError), match=f"^register_candidate: .*{message}"):
        register_candidate(name, builder)
    assert "conv" not in OWN


def test_registering_leaves_the_generator_alone(own_candidates):
    before = torch.get_rng_state()
    register_candidate("conv", conv_3x3)
    register_candidate("dropped", lambda *how: nn.Sequential(conv_3x3(*how), nn.Dropout()))
    assert torch.equal(torch.get_rng_state(), before)
    assert [name for name in (*PRIMITIVES, *OWN) if draws(name)] == ["noise", "dropped"]


ONE = """\
from adarts_ext.nn import register_candidate
from adarts_ext.nn.noise import Noise
register_candidate("one", lambda channels, stride, affine: Noise(stride))
"""


def test_files_of_candidates(tmp_path, own_candidates):
    file = tmp_path / "mine.py"
    for text, message in (
        ("import nothing_of_that_name", "mine.py: ModuleNotFoundError: No module named"),
        ("x = 1", "mine.py: expected calls of register_candidate, got none"),
        (
            f"{ONE}1 / 0",
            "mine.py: ZeroDivisionError",
        ),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=f"^candidates: .*{message}") as caught:
            load_candidates(file)
        assert caught.value.argument_names == ("candidates",)
        assert "one" not in OWN
    with pytest.raises(ValueError, match=r"^candidates: no file none\.py"):
        load_candidates("none.py")
    file.write_text(ONE)
    load_candidates(file)
    load_candidates(file)  # nothing happens
    assert draws("one")


def test_edges_are_decided_among_candidates_of_their_own(images):
    """By perturbation and by strength: what an edge does not have is neither measured nor kept."""
    pairs = (("skip_connect", "avg_pool_3x3"), ("none", "noise", "sep_conv_5x5"))
    network = make(candidates=EdgeCandidates(pairs, pairs[::-1]), skip_zeros=True)
    batches = [(images, torch.arange(4) % 3)]
    selection = Perturbation(network)
    assert selection.passes_left() == 8
    while not selection.done:
        selection.measure_next(batches)
    for one in selection.decisions:
        names = getattr(network.candidates, one["cell"])[one["edge"]]
        assert set(one["accuracies"]) == set(names) - {"none"}
    strengths = operation_strengths(network, batches)
    assert [row.count_nonzero() for row in strengths.normal] == [2, 2]
    for genotype in (selection.genotype(), derive_from_scores(*strengths, network.candidates)):
        for cell in ("normal", "reduce"):
            for op, source in getattr(genotype, cell):
                assert op in getattr(network.candidates, cell)[source]


def test_wrong_columns_of_a_mixed_operation_are_refused():
    for columns in (PRIMITIVES, ("noise", *PRIMITIVES)):
        with pytest.raises(ValueError, match=r"^PartialMixedOp: columns: expected none, .* noise,"):
            PartialMixedOp(4, 1, 1, "all", candidates=["noise"], columns=columns)


def test_noise_is_drawn_anew_and_has_no_gradient():
    torch.manual_seed(0)
    mixed_op = PartialMixedOp(4, 2, 1, "all", candidates=["noise"])
    x = torch.randn(64, 4, 16, 16, requires_grad=True)
    weights = torch.eye(9)[8]
    y = mixed_op(x, weights)
    assert y.shape == (64, 4, 8, 8)
    assert abs(y.mean()) < 0.05
    assert abs(y.std() - 1) < 0.05
    assert not torch.equal(y, mixed_op.eval()(x, weights))


def test_recomputing_draws_the_same_noise():
    torch.manual_seed(0)
    options = {"proportion": 1, "selection": "all", "candidates": ["noise", "sep_conv_3x3"]}
    cell = SearchCell(4, 4, 4, False, False, 1, **options)
    again = SearchCell(4, 4, 4, False, False, 1, memory="recompute", **options)
    again.load_state_dict(cell.state_dict())
    x, alphas = torch.randn(2, 4, 8, 8), torch.rand(2, 9, requires_grad=True)
    found = []
    for one in (cell, again):
        torch.manual_seed(3)
        found.append(torch.autograd.grad(one(x, x, alphas).square().sum(), alphas)[0])
    torch.testing.assert_close(*found)


def test_s1_has_the_published_pairs_and_runs_fused(images):
    network = make(steps=4, candidates=parse_space("s1"))
    assert all(cell.is_fused for cell in network.cells)
    plain = make(steps=4, candidates=parse_space("s1"), backend="reference")
    plain.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(images), plain(images), rtol=1e-9, atol=1e-12)
    assert ((network.operation_weights().normal > 0).sum(-1) == 2).all()
    space = parse_space("s1")
    assert space.normal[5] == ("max_pool_3x3", "skip_connect")  # input 0 to node 4
    assert space.reduce[6] == ("max_pool_3x3", "sep_conv_3x3")  # input 1 to node 4
    for cell in ("normal", "reduce"):
        for position, (op, source) in enumerate(getattr(network.genotype(), cell)):
            node = 2 + position // 2
            assert op in getattr(space, cell)[sum(range(2, node)) + source]
    with pytest.raises(ValueError, match=r"^SearchNetwork: .* each of 2 edges, got those of 14"):
        make(candidates=space)
