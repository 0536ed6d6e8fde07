"""Candidates that are left out: of a pass, or of the space."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from adarts_ext.genotype import PRIMITIVES
from adarts_ext.nn import OperationWeights, PartialMixedOp, SearchCell, SearchNetwork
from adarts_ext.nn.candidates import EdgeCandidates, names_of, parse_space, present

SKIP, SEP3 = PRIMITIVES.index("skip_connect"), PRIMITIVES.index("sep_conv_3x3")


def make(**options) -> SearchNetwork:
    torch.manual_seed(0)
    small = {"proportion": 2, "steps": 2, "in_channels": 1}
    return SearchNetwork(4, 3, 6, **small | options).double()


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 1, 16, 16, generator=generator, dtype=torch.float64)


def some_zeros() -> OperationWeights:
    """Weights of candidates: on one edge nothing, on another only ``none``, elsewhere some."""
    generator = torch.Generator().manual_seed(2)
    drawn = torch.rand(2, 5, 8, generator=generator, dtype=torch.float64)
    drawn = drawn * (torch.rand(2, 5, 8, generator=generator) < 0.4)
    drawn[:, 1] = 0
    drawn[:, 3] = torch.eye(8)[0]
    return OperationWeights(*drawn)


def candidates_of(network: SearchNetwork):
    """Give every candidate with what it weighs."""
    for cell in network.cells:
        weights = some_zeros()[cell.reduction]
        for edge, row in zip(cell._ops, weights.tolist(), strict=True):
            yield from zip(edge._ops, row, strict=True)


def run(network: SearchNetwork, images: torch.Tensor) -> dict[str, torch.Tensor]:
    weights = OperationWeights(*(one.requires_grad_() for one in some_zeros()))
    logits = network(images, weights)
    logits.square().sum().backward()
    found = {name: weight.grad for name, weight in network.named_parameters()}
    found |= {f"of weights {i}": one.grad * (one != 0) for i, one in enumerate(weights)}
    return found | {"logits": logits.detach()}


CELLS = {
    "attention": {},
    "first": {"selection": "first"},
    "all": {"selection": "all", "edge_normalization": False},
    "recompute": {"memory": "recompute"},
    "plain torch": {"backend": "reference"},
    "plain torch, first, recompute": {
        "backend": "reference",
        "selection": "first",
        "memory": "recompute",
    },
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_the_rest_is_what_it_is_with_weights_of_zero(cell, training, images):
    network = make(skip_zeros=True, **CELLS[cell]).train(training)
    plain = make(**CELLS[cell] | {"backend": "reference", "memory": "store"}).train(training)
    found, expected = run(network, images), run(plain, images)
    left_out = {id(p) for one, w in candidates_of(network) if not w for p in one.parameters()}
    for name, parameter in network.named_parameters():
        if id(parameter) in left_out:
            assert found[name] is None, name  # and not 0
            found[name] = torch.zeros_like(parameter)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_statistics_of_what_is_left_out_stay_as_they_are(cell, images):
    network = make(skip_zeros=True, **CELLS[cell])
    plain = make(**CELLS[cell] | {"backend": "reference"})
    before = copy.deepcopy(network)
    for one in (network, plain):
        one(images, some_zeros())
    groups = (candidates_of(network), candidates_of(plain), candidates_of(before))
    for (found, weight), (expected, _), (untouched, _) in zip(*groups, strict=True):
        like = expected if weight else untouched
        for buffer, other in zip(found.buffers(), like.buffers(), strict=True):
            torch.testing.assert_close(buffer, other, rtol=1e-9, atol=1e-12)


def test_by_operator_the_same_is_left_out(images):
    network = make(skip_zeros=True)
    expected = run(network, images)
    hooked = make(skip_zeros=True)
    for cell in hooked.cells:
        cell._ops[0].register_forward_hook(lambda *_: None)
    assert not any(cell.is_fused for cell in hooked.cells)
    found = run(hooked, images)
    assert [found[name] is None for name in found] == [expected[name] is None for name in expected]
    for name, tensor in expected.items():
        if tensor is not None:
            torch.testing.assert_close(found[name], tensor, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("flat", [True, False])
def test_a_cell_is_told_what_is_active(flat, images):
    torch.manual_seed(0)
    cell = SearchCell(4, 4, 4, False, False, steps=1, proportion=2).double()
    if flat:
        cell.flatten()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    alphas = torch.rand(2, 8, dtype=torch.float64)
    only = torch.zeros_like(alphas)
    only[0, SEP3], only[1, SKIP] = alphas[0, SEP3], alphas[1, SKIP]
    expected = cell(x, x, only)
    found = cell(x, x, alphas, active=(1 << SEP3, 1 << SKIP))
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    convolution = cell._ops[0]._ops[SEP3].op[1]
    assert convolution.weight.grad.any()
    assert not flat or cell.flatten().grad.any()
    with pytest.raises(ValueError, match="active: expected a number for each of 2 edges, got 3"):
        cell(x, x, alphas, active=(1, 2, 3))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_a_mixed_operation_of_one_skip_connection(backend, stride):
    mixed_op = PartialMixedOp(4, stride, 1, "all", backend, ["skip_connect"])
    x = torch.randn(2, 4, 6, 6)
    expected = mixed_op._ops[SKIP](x)
    torch.testing.assert_close(mixed_op(x, torch.ones(8)), expected)
    torch.testing.assert_close(mixed_op.eval()(x, torch.eye(8)[SKIP]), mixed_op._ops[SKIP](x))


SPACE = ("none", "skip_connect", "sep_conv_3x3")


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_a_space_is_the_network_with_the_others_at_zero(backend, images):
    network, full = make(candidates=SPACE, backend=backend), make(backend="reference")
    assert all(cell.is_fused == (backend == "fused") for cell in network.cells)
    names = {name.split("._ops.")[2][0] for name in network.state_dict() if name.count("_ops") == 2}
    assert names == {str(PRIMITIVES.index(name)) for name in SPACE[1:]}  # what there is layers of
    full.load_state_dict(full.state_dict() | network.state_dict())
    left_out = torch.tensor([name not in SPACE for name in PRIMITIVES])
    for weights in network.operation_weights():
        assert torch.equal(weights == 0, left_out.expand(5, -1))
    logits = network(images)
    torch.testing.assert_close(logits, full(images), rtol=1e-9, atol=1e-12)
    logits.sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())
    genotype = network.genotype()
    assert {name for name, _ in (*genotype.normal, *genotype.reduce)} <= set(SPACE[1:])


def differing() -> EdgeCandidates:
    """Two or three candidates an edge, others on each."""
    generator = torch.Generator().manual_seed(3)
    drawn = [[torch.randperm(8, generator=generator)[:3].tolist() for _ in range(5)] for _ in "nr"]
    return EdgeCandidates(*(tuple(tuple(PRIMITIVES[o] for o in e) for e in one) for one in drawn))


@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize("skip_zeros", [False, True])
def test_candidates_may_differ_from_edge_to_edge(skip_zeros, backend, images):
    candidates = differing()
    network = make(candidates=candidates, backend=backend, skip_zeros=skip_zeros)
    full = make(backend="reference")
    full.load_state_dict(full.state_dict() | network.state_dict())
    assert all(cell.is_fused == (backend == "fused") for cell in network.cells)
    flat = network.flat_parameters()
    assert sum(one.numel() for one in flat) == sum(one.numel() for one in network.parameters())
    logits = network(images)
    torch.testing.assert_close(logits, full(images), rtol=1e-9, atol=1e-12)
    logits.sum().backward()
    assert all(weight.grad.any() for weight in network.parameters())
    both = zip(candidates[:2], (network.alphas_normal, network.alphas_reduce), strict=True)
    for names, alphas in both:
        assert list(map(set, names_of(present(alphas)))) == list(map(set, names))
    genotype = network.genotype()
    for edges, names in zip((genotype.normal, genotype.reduce), candidates[:2], strict=True):
        for place, (operation, source) in enumerate(edges):
            assert operation in names[source + (2 if place >= 2 else 0)]


def test_candidates_of_another_number_of_edges_are_refused():
    normal, reduce, _ = differing()
    with pytest.raises(ValueError, match=r"^SearchNetwork: .* each of 5 edges, got those of 4"):
        make(candidates=EdgeCandidates(normal[:4], reduce))
    with pytest.raises(ValueError, match=r"^SearchNetwork: expected at least one candidate that"):
        make(candidates=EdgeCandidates(normal, (*reduce[:4], ("none",))))


def test_a_space_has_flat_weights_and_copies(images):
    network = make(candidates=["sep_conv_3x3", "skip_connect"])
    flat = network.flat_parameters()
    assert sum(one.numel() for one in flat) == sum(one.numel() for one in network.parameters())
    logits = network(images)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(other.eval()(images), network.eval()(images))
        network.train()
    logits.sum().backward()
    assert all(one.grad.any() for one in flat)


def test_with_skip_zeros_weights_are_trained_one_by_one():
    network = make(skip_zeros=True)
    assert all(map(torch.equal, network.flat_parameters(), network.parameters()))
    assert network.flat_parameters()[0] is next(network.parameters())


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (["sep_conv_3"], r"expected candidates of none, .*, got 'sep_conv_3'; did you mean"),
        (["none", "none", "skip_connect"], "expected every candidate once"),
        (["none"], "expected at least one candidate that is not none"),
        ([], "expected at least one candidate that is not none"),
    ],
)
def test_spaces_that_are_none_are_refused(candidates, message):
    with pytest.raises(ValueError, match=f"^SearchNetwork: {message}"):
        make(candidates=candidates)
    with pytest.raises(ValueError, match=r"^space: .*, or darts, s1, s2, s3, s4"):
        parse_space(",".join(candidates))
