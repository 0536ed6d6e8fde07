"""The same mathematics in other forms: it is fused, with the numbers of the code itself."""

from __future__ import annotations

import copy

import pytest
import torch
from acceleration_case import accelerated, build
from comparison import assert_exact
from old_code import adarts, darts, pc_darts
from old_code.operations import PRIMITIVES
from old_code.operations import build as operation
from torch import nn

from adarts_ext import accelerate
from adarts_ext.compat import acceleration_report


def passed(module: nn.Module, *inputs, **options):
    """Output, gradients and buffers of a pass in training, of tensors and lists of them."""
    copies = [
        [t.detach().clone().requires_grad_() for t in x]
        if isinstance(x, list)
        else x.detach().clone().requires_grad_()
        for x in inputs
    ]
    leaves = [t for x in copies for t in (x if isinstance(x, list) else [x])]
    y = module(*copies, **options)
    direction = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    named = {f"input {i}": leaf for i, leaf in enumerate(leaves)} | dict(module.named_parameters())
    grads = torch.autograd.grad(y, list(named.values()), direction)
    found = {f"gradient of {k}": g for k, g in zip(named, grads, strict=True)}
    return {"output": y.detach()} | found | {k: b.clone() for k, b in module.named_buffers()}


def assert_fused(module: nn.Module, level: str, *inputs, **options) -> nn.Module:
    """Assert that an accelerated copy computes the same at this level; return it."""
    module = module.double()
    ours = accelerate(copy.deepcopy(module))
    assert acceleration_report(ours).levels() == {level: 1}, acceleration_report(ours)
    assert_exact(passed(ours, *inputs, **options), passed(module, *inputs, **options))
    assert acceleration_report(ours).levels() == {level: 1}, acceleration_report(ours)
    return ours


def states(channels: int = 8, size: int = 8) -> list[torch.Tensor]:
    return [torch.randn(3, channels, size, size, dtype=torch.float64) for _ in range(2)]


def alphas(edges: int = 5, candidates: int = 8) -> torch.Tensor:
    return torch.randn(edges, candidates, dtype=torch.float64).softmax(-1)


class WithDropPath(darts.Cell):
    def forward(self, s0, s1, weights, drop_prob=0.0):
        y = super().forward(s0, s1, weights)
        return y / (1 - drop_prob) if self.training and drop_prob > 0 else y


class WithTwoOptions(WithDropPath):
    def forward(self, s0, s1, weights, weights2=None, drop_prob=0.0):
        return super().forward(s0, s1, weights, drop_prob)


class WithBetasOrNot(pc_darts.Cell):
    def forward(self, s0, s1, weights, weights2=None):
        if weights2 is None:
            weights2 = torch.ones_like(weights[:, 0])
        return super().forward(s0, s1, weights, weights2)


class WithIndex(darts.MixedOp):
    def forward(self, x, weights, selected_idx=None):
        return super().forward(x, weights) if selected_idx is None else self._ops[selected_idx](x)


def test_options_that_are_no_betas():
    ours = assert_fused(WithTwoOptions(2, 2, 8, 8, 4, False, False), "cell", *states(), alphas())
    with pytest.warns(UserWarning, match="weights2 is not None"):
        ours(*states(), alphas(), torch.rand(5))


@pytest.mark.parametrize("given", [(), (0.0,), (0,)])
def test_an_option_of_a_cell_at_its_default(given):
    cell = WithDropPath(2, 2, 8, 8, 4, False, False)
    ours = assert_fused(cell, "cell", *states(), alphas())
    inputs = [*states(), alphas()]
    torch.testing.assert_close(ours(*inputs, *given), cell(*inputs, *given))
    with pytest.warns(UserWarning, match=r"drop_prob is not 0\.0"):
        dropped = ours(*inputs, drop_prob=0.5)
    torch.testing.assert_close(dropped, cell(*inputs, 0.5))


def test_betas_that_may_be_left_out():
    cell = WithBetasOrNot(2, 2, 8, 8, 8, False, False)
    betas = torch.rand(5, dtype=torch.float64)
    ours = assert_fused(cell, "cell", *states(), alphas(), betas)
    inputs = [*states(), alphas()]
    torch.testing.assert_close(ours(*inputs), cell(*inputs))


@pytest.mark.filterwarnings("ignore:accelerate")
def test_an_option_of_an_edge_at_its_default():
    edge, (x, _) = WithIndex(8, 1), states()
    ours = assert_fused(edge, "mixed op", x, alphas()[0])
    assert torch.equal(ours(x, alphas()[0], 3), x)


@pytest.mark.parametrize("proportion", [3, 5, 6, 12])
@pytest.mark.parametrize("stride", [1, 2])
def test_any_proportion_of_the_channels(proportion, stride):
    class Partial(pc_darts.MixedOp):
        def __init__(self):
            super().__init__(4 * 4, stride)  # four channels in the candidates
            self.k = proportion

    x = torch.randn(3, 4 * proportion, 8, 8, dtype=torch.float64)
    assert_fused(Partial(), "mixed op", x, alphas()[0])


def test_numbers_of_channels_that_torch_does_not_read():
    edge, (x, _) = darts.MixedOp(8, 2), states()
    for layer in edge.modules():
        if isinstance(layer, nn.Conv2d):
            layer.in_channels = 4
    assert_fused(edge, "mixed op", x, alphas()[0])


class FunctionalReLU(nn.Module):
    """Layers of which the ReLUs are called as functions."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.layers = nn.ModuleList(m for m in module.modules() if not m._modules)
        self.layers = nn.ModuleList(m for m in self.layers if type(m) is not nn.ReLU)

    def forward(self, x):
        for i, layer in enumerate(self.layers):
            x = layer(x.relu() if i % 3 == 0 else x)
        return x


class FunctionalReduction(nn.Module):
    def __init__(self, module: nn.Module):
        super().__init__()
        self.a, self.b = (m for m in module.modules() if isinstance(m, nn.Conv2d))
        self.norm = next(m for m in module.modules() if isinstance(m, nn.BatchNorm2d))

    def forward(self, x):
        x = torch.relu(x)
        return self.norm(torch.cat([self.a(x), self.b(x[:, :, 1:, 1:])], dim=1))


@pytest.mark.parametrize("stride", [1, 2])
def test_relus_that_are_called_as_functions(stride):
    edge, (x, _) = darts.MixedOp(8, stride), states()
    for i, primitive in enumerate(PRIMITIVES):
        if "conv" in primitive:
            edge._ops[i] = FunctionalReLU(edge._ops[i])
        if primitive == "skip_connect" and stride == 2:
            edge._ops[i] = FunctionalReduction(edge._ops[i])
    assert_fused(edge, "mixed op", x, alphas()[0])


@pytest.mark.parametrize("reduction_before", [False, True])
def test_preprocessings_whose_relus_are_called_as_functions(reduction_before):
    cell = darts.Cell(2, 2, 8, 8, 4, False, reduction_before)
    first = FunctionalReduction if reduction_before else FunctionalReLU
    cell.preprocess0 = first(cell.preprocess0)
    cell.preprocess1 = FunctionalReLU(cell.preprocess1)
    s0, s1 = states(size=16)[0] if reduction_before else states()[0], states()[1]
    assert_fused(cell, "cell", s0, s1, alphas())


class ByNode(darts.Cell):
    """Edges in a list for each node, and alphas likewise."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        left = iter(self._ops)
        self._ops = nn.ModuleList(
            nn.ModuleList(next(left) for _ in range(2 + node)) for node in range(self._steps)
        )

    def forward(self, s0, s1, weights):
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        for edges, rows in zip(self._ops, weights, strict=True):
            states.append(sum(e(h, w) for e, h, w in zip(edges, states, rows, strict=True)))
        return torch.cat(states[-self._multiplier :], dim=1)


class ByNodeFromAMatrix(ByNode):
    def forward(self, s0, s1, weights):
        return super().forward(s0, s1, weights.split([2, 3]))


@pytest.mark.parametrize("reduction", [False, True])
def test_lists_of_edges_and_alphas(reduction):
    cell = ByNode(2, 2, 8, 8, 4, reduction, False)
    assert_fused(cell, "cell", *states(), [*alphas().split([2, 3])])
    cell = ByNodeFromAMatrix(2, 2, 8, 8, 4, reduction, False)
    assert_fused(cell, "cell", *states(), alphas())


class NamedEdge(nn.Module):
    """An edge without ``forward``: its methods have names of their own."""

    def __init__(self, edge: nn.Module):
        super().__init__()
        self._ops = nn.ModuleDict(zip(PRIMITIVES, edge._ops, strict=True))

    def forward_one(self, x, index):
        return self._ops[PRIMITIVES[index]](x)

    def forward_darts(self, x, weights):
        return sum(w * op(x) for w, op in zip(weights, self._ops.values(), strict=True))


class NamedCell(nn.Module):
    def __init__(self, cell: nn.Module):
        super().__init__()
        self.preprocess0, self.preprocess1 = cell.preprocess0, cell.preprocess1
        names = [f"{state} to {node}" for node in range(2) for state in range(2 + node)]
        self.edges = nn.ModuleDict(zip(names, map(NamedEdge, cell._ops), strict=True))

    def forward_one(self, s0, s1, weights):
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        return torch.cat([e.forward_one(states[0], weights) for e in self.edges.values()], dim=1)

    def forward_darts(self, s0, s1, weights):
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        edges, rows = iter(self.edges.values()), iter(weights)
        for _ in range(2):
            states.append(sum(next(edges).forward_darts(h, next(rows)) for h in states))
        return torch.cat(states[2:], dim=1)


@pytest.mark.parametrize("reduction", [False, True])
def test_forwards_of_another_name_and_edges_in_a_dictionary(reduction):
    cell = NamedCell(darts.Cell(2, 2, 8, 8, 4, reduction, False)).double()
    ours = accelerate(copy.deepcopy(cell))
    assert acceleration_report(ours).levels() == {"cell": 1}, acceleration_report(ours)
    for one in (cell, ours):
        one.forward = one.forward_darts
    inputs = [*states(), alphas()]
    assert_exact(passed(ours, *inputs), passed(cell, *inputs))
    if not reduction:
        assert torch.equal(ours.forward_one(*inputs[:2], 3), cell.forward_one(*inputs[:2], 3))


class WithSelection(darts.Cell):
    """A cell that cannot do without its fourth argument."""

    def forward(self, s0, s1, weights, selected=None):
        rows = [w if selected[i] < 0 else 0 * w for i, w in enumerate(weights)]
        return super().forward(s0, s1, torch.stack(rows))


def test_what_a_cell_needs_besides_is_named():
    cell = WithSelection(2, 2, 8, 8, 4, False, False).double()
    report = acceleration_report(accelerate(cell))
    assert report.levels() == {"untouched": 1, "mixed op": 5}
    assert "needs it: selected" in str(report)


class WithReduction(darts.MixedOp):
    """An edge that adds a layer of its own."""

    def __init__(self, channels, stride):
        super().__init__(channels, stride)
        self.auxiliary = nn.Conv2d(channels, channels, 1, stride)

    def forward(self, x, weights):
        return super().forward(x, weights) + self.auxiliary(x)


@pytest.mark.parametrize("stride", [1, 2])
def test_an_edge_with_more_layers_is_in_the_report(stride):
    with pytest.warns(UserWarning, match="layers besides its candidates: auxiliary"):
        model = accelerate(nn.Sequential(WithReduction(8, stride)))
    assert acceleration_report(model).levels() == {"untouched": 1}


SPACES = [
    ("none", "skip_connect", "sep_conv_3x3"),  # S3 of RobustDARTS
    ("sep_conv_3x3", "skip_connect"),  # S2
    ("dil_conv_5x5", "avg_pool_3x3", "none"),
]


@pytest.mark.parametrize("base", [darts, pc_darts, adarts])
@pytest.mark.parametrize("space", SPACES)
def test_cells_of_fewer_candidates_are_fused(base, space):
    few = type("Few", (base.MixedOp,), {"primitives": space})
    assert accelerated(build(base, few)).levels() == {"cell": 2}


class OfItsOwn(darts.MixedOp):
    """An edge with two candidates that other edges have not, as in S1, or late in P-DARTS."""

    primitives = ("skip_connect", "sep_conv_3x3")
    pairs = (primitives, ("max_pool_3x3", "dil_conv_5x5"), ("sep_conv_5x5", "none"))

    def __init__(self, channels, stride):
        super().__init__(channels, stride)
        pair = self.pairs[int(torch.randint(3, ()))]
        self._ops = nn.ModuleList(operation(name, channels, stride) for name in pair)


def test_cells_whose_edges_have_candidates_of_their_own_are_fused():
    network = build(darts, OfItsOwn)
    kinds = {type(edge._ops[0]) for cell in network.cells for edge in cell._ops}
    assert len(kinds) > 2
    assert accelerated(network).levels() == {"cell": 2}


def test_candidates_of_one_kind_twice_are_called_that():
    twice = type("Twice", (darts.MixedOp,), {"primitives": ("sep_conv_3x3", "sep_conv_3x3")})
    report = accelerated(build(darts, twice))
    (reason,) = {entry.reason for entry in report.entries if entry.level != "untouched"}
    assert reason == "several candidates of one kind"
