"""Candidates whose BatchNorm is taken into their weighted sum: which, and that nothing changes."""

from __future__ import annotations

import copy

import pytest
import torch
from comparison import Errors
from torch import Tensor, nn

from adarts_ext.nn import PartialMixedOp, SearchCell
from adarts_ext.nn.operations import DilConv, FactorizedReduce, Identity, ReLUConvBN, SepConv
from adarts_ext.nn.unnormalized import before_last_norm, last_norm, mix

CHANNELS = 4


def candidates(stride: int) -> list[nn.Module]:
    return [
        nn.Sequential(
            nn.MaxPool2d(3, stride=stride, padding=1), nn.BatchNorm2d(CHANNELS, affine=False)
        ),
        Identity() if stride == 1 else FactorizedReduce(CHANNELS, CHANNELS, affine=False),
        SepConv(CHANNELS, 3, stride, affine=False),
        DilConv(CHANNELS, 5, stride, affine=False),
    ]


def plain_sum(operations: list[nn.Module], x: Tensor, weights: Tensor) -> Tensor:
    return sum(w * operation(x) for w, operation in zip(weights, operations, strict=True))


def results(function, operations: list[nn.Module], x: Tensor, weights: Tensor) -> list[Tensor]:
    """The sum, its gradients and what the BatchNorms have learnt."""
    module = nn.ModuleList(operations)
    leaves = [x, weights, *module.parameters()]
    leaves = [leaf for leaf in leaves if leaf.requires_grad]
    out = function(operations, x, weights)
    direction = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    grads = torch.autograd.grad(out, leaves, direction)
    return [out.detach(), *grads, *(buffer.clone() for buffer in module.buffers())]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_sum_gradients_and_statistics_are_those_of_plain_calls(stride, training):
    operations = candidates(stride)
    x = torch.randn(3, CHANNELS, 8, 6, dtype=torch.double, requires_grad=True)
    weights = torch.rand(4, dtype=torch.double, requires_grad=True)
    for operation in operations:
        operation.double()
        for norm in operation.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)
        operation.train(training)
    expected = results(plain_sum, copy.deepcopy(operations), x, weights)
    actual = results(mix, operations, x, weights)
    for one, two in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_without_graph_break(backend):
    operations = candidates(stride=2)
    x, weights = torch.randn(3, CHANNELS, 8, 6, requires_grad=True), torch.rand(4)
    expected = results(mix, copy.deepcopy(operations), x, weights)
    compiled = torch.compile(mix, fullgraph=True, backend=backend)
    for one, two in zip(results(compiled, operations, x, weights), expected, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.ReLU(), nn.BatchNorm2d(CHANNELS, affine=False)),
        ReLUConvBN(CHANNELS, CHANNELS, affine=False),
        SepConv(CHANNELS, 3, 1, affine=False),
        DilConv(CHANNELS, 3, 2, affine=False),
        FactorizedReduce(CHANNELS, 2 * CHANNELS, affine=False),
    ],
    ids=lambda module: type(module).__name__,
)
def test_output_before_the_norm(module):
    x = torch.randn(2, CHANNELS, 6, 6)
    norm = last_norm(module)
    assert norm is not None
    assert torch.equal(norm(before_last_norm(module, x)), module(x))


class OwnSequential(nn.Sequential):
    pass


class OwnSepConv(SepConv):
    pass


def hooked() -> nn.Module:
    module = SepConv(CHANNELS, 3, 1, affine=False)
    module.op.register_forward_hook(lambda *_: None)
    return module


def replaced() -> nn.Module:
    module = SepConv(CHANNELS, 3, 1, affine=False)
    module.op[-1].forward = lambda x: x
    return module


@pytest.mark.parametrize(
    "module",
    [
        Identity(),
        nn.BatchNorm2d(CHANNELS, affine=False),
        nn.Sequential(),
        nn.Sequential(nn.BatchNorm2d(CHANNELS)),
        nn.Sequential(nn.BatchNorm2d(CHANNELS, affine=False), nn.ReLU()),
        nn.Sequential(nn.BatchNorm2d(CHANNELS, affine=False, track_running_stats=False)),
        nn.Sequential(nn.BatchNorm2d(CHANNELS, affine=False, momentum=None)),
        nn.Sequential(nn.InstanceNorm2d(CHANNELS)),
        SepConv(CHANNELS, 3, 1, affine=True),
        OwnSequential(nn.BatchNorm2d(CHANNELS, affine=False)),
        OwnSepConv(CHANNELS, 3, 1, affine=False),
        hooked(),
        replaced(),
    ],
    ids=lambda module: type(module).__name__,
)
def test_other_modules_are_called_whole(module):
    assert last_norm(module) is None
    x = torch.randn(3, CHANNELS, 8, 6, requires_grad=True)
    weights = torch.rand(2)
    other = nn.Sequential(nn.BatchNorm2d(CHANNELS, affine=False))
    expected = results(plain_sum, copy.deepcopy([module, other]), x, weights)
    for one, two in zip(results(mix, [module, other], x, weights), expected, strict=True):
        torch.testing.assert_close(one, two)


def test_norms_in_different_modes_are_called_whole():
    operations = candidates(stride=1)
    operations[2].eval()
    x, weights = torch.randn(3, CHANNELS, 8, 6, requires_grad=True), torch.rand(4)
    expected = results(plain_sum, copy.deepcopy(operations), x, weights)
    for one, two in zip(results(mix, operations, x, weights), expected, strict=True):
        torch.testing.assert_close(one, two)


def test_hooks_below_a_candidate_are_called():
    edge = PartialMixedOp(CHANNELS, stride=1, proportion=1)
    seen = []
    edge._ops[4].op[1].register_forward_hook(lambda *_: seen.append("convolution"))
    edge._ops[6].register_forward_hook(lambda *_: seen.append("candidate"))
    edge(torch.randn(2, CHANNELS, 8, 8), torch.rand(8))
    assert seen == ["convolution", "candidate"]


def kept_by(edge: PartialMixedOp, x: Tensor, weights: Tensor) -> int:
    """Bytes of different storages that autograd keeps, but for those of x and the weights."""
    others = [*edge.parameters(), *edge.buffers(), x, weights]
    known = {tensor.untyped_storage()._cdata for tensor in others}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = edge(x, weights)
    del out
    return sum(storage.nbytes() for key, storage in kept.items() if key not in known)


def test_an_edge_beyond_the_fused_cell_is_as_exact_as_plain_torch_and_keeps_less():
    errors = Errors()
    for seed in errors.until_clear():
        torch.manual_seed(seed)
        plain = PartialMixedOp(66, stride=1, proportion=1, selection="all", backend="reference")
        fused = PartialMixedOp(66, stride=1, proportion=1, selection="all")
        assert fused.kernels() == "operator by operator (66 selected channels are over 64)"
        fused.load_state_dict(plain.state_dict())
        exact = copy.deepcopy(plain).double()
        x, weights = torch.randn(4, 66, 6, 6), torch.rand(8)
        both = []
        for edge in (fused, plain, exact):
            dtype = next(edge.parameters()).dtype
            leaves = [x.to(dtype).requires_grad_(), weights.to(dtype).requires_grad_()]
            out = edge(*leaves)
            both.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
        for kind, *three in zip(("output", "input", "weights"), *both, strict=True):
            errors.add(kind, *three)
        x.requires_grad_()
        weights.requires_grad_()
        saved = kept_by(plain, x, weights) - kept_by(fused, x, weights)
        assert saved > 5.9 * x.nbytes  # the outputs of six BatchNorms, but for statistics
    errors.assert_at_most_twice()


def test_recomputing_updates_the_statistics_once():
    cells = [
        SearchCell(8, 8, 66, False, False, steps=1, selection="all", memory=memory)
        for memory in ("store", "recompute")
    ]
    cells[1].load_state_dict(cells[0].state_dict())
    x, alphas = torch.randn(2, 8, 4, 4), torch.rand(2, 8)
    grads = []
    for cell in cells:
        assert cell.kernels().startswith("operator by operator")
        cell(x, x, alphas).square().sum().backward()
        grads.append([parameter.grad for parameter in cell.parameters()])
    for one, two in zip(*grads, strict=True):
        assert torch.equal(one, two)
    for one, two in zip(*(cell.buffers() for cell in cells), strict=True):
        assert torch.equal(one, two)


def test_autocast_sums_in_the_dtype_of_the_input():
    operations = candidates(stride=1)
    x, weights = torch.randn(3, CHANNELS, 8, 6), torch.rand(4)
    expected = plain_sum(copy.deepcopy(operations), x, weights)
    with torch.autocast("cpu", torch.bfloat16):
        out = mix(operations, x, weights)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, expected, rtol=0.05, atol=0.05)
