"""When a cell runs on the fused kernels and when not, and that its results are the same."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from cell_changes import CHANGES, WITHOUT_EFFECT
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from adarts_ext.nn import ImageBlocks, PartialMixedOp, SearchCell, SearchNetwork
from adarts_ext.nn.image_blocks import feature_map, lay_out
from adarts_ext.nn.operations import build_operation


def make(**choices) -> SearchCell:
    return SearchCell(6, 6, 8, False, False, steps=2, **choices)


def operands(dtype=torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    s0, s1 = torch.randn(2, 3, 6, 8, 8, dtype=dtype)
    return s0, s1, torch.full((5, 8), 1 / 8, dtype=dtype), torch.rand(5, dtype=dtype)


def convolution(cell: SearchCell) -> nn.Conv2d:
    return cell._ops[1]._ops[4].op[1]


def exchange_candidate(cell):
    cell._ops[3]._ops[4] = build_operation("dil_conv_3x3", 2, 1, affine=False)


def exchange_edge(cell):
    cell._ops[3] = PartialMixedOp(8, 1, proportion=2)


def parametrize_weight(cell):
    class Absolute(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.abs()

    parametrize.register_parametrization(convolution(cell), "weight", Absolute())


def prune_weight(cell):
    prune.l1_unstructured(convolution(cell), "weight", amount=0.5)


def scale_edge(cell):
    cell._ops[0].register_forward_hook(lambda module, inputs, output: 2 * output)


def change_selection(cell):
    cell._ops[2].selection = "first"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        *CHANGES,
        (exchange_candidate, "a layer was exchanged"),
        (exchange_edge, "a layer was exchanged"),
        (parametrize_weight, "a layer has another class"),
        (prune_weight, "a layer has hooks"),
        (scale_edge, "a layer has hooks"),
        (change_selection, "a PartialMixedOp was changed"),
    ],
)
@pytest.mark.parametrize("laid_out", [True, False])
def test_a_changed_cell_runs_operator_by_operator(change, reason, laid_out):
    cell, plain = make().double(), make(backend="reference").double()
    plain.load_state_dict(cell.state_dict())
    s0, s1, *weights = operands(torch.float64)
    unchanged = copy.deepcopy(plain)(s0, s1, *weights)
    for each in (cell, plain):
        torch.manual_seed(1)
        change(each)
        each.double()
    assert cell.kernels() == f"operator by operator ({reason})"
    output = cell(lay_out(s0), lay_out(s1), *weights) if laid_out else cell(s0, s1, *weights)
    assert isinstance(output, Tensor)  # a network lays out again what the next cell needs
    expected = plain(s0, s1, *weights)
    torch.testing.assert_close(feature_map(output), expected)
    if change not in WITHOUT_EFFECT:
        assert not torch.allclose(unchanged, expected)
    for a, b in zip(cell.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_weight_of_another_shape_is_refused():
    cell = make()
    convolution(cell).weight = nn.Parameter(torch.randn(2, 1, 5, 5))
    with pytest.raises(ValueError, match=r"weight .* has shape \(2, 1, 5, 5\), expected \(2, 1, 3"):
        cell(*operands())


def test_all_norms_may_share_other_settings():
    cell, plain = make(), make(backend="reference")
    plain.load_state_dict(cell.state_dict())
    for module in [*cell.modules(), *plain.modules()]:
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-2, 0.5
    assert cell.kernels() == "fused cell"
    arguments = operands()
    torch.testing.assert_close(cell(*arguments), plain(*arguments))
    torch.testing.assert_close(cell.state_dict(), plain.state_dict())


@pytest.mark.parametrize(
    ("channels", "choices", "kernels"),
    [
        (64, {"selection": "all"}, "fused cell"),
        (66, {"selection": "all"}, "operator by operator (66 selected channels are over 64)"),
        (320, {"proportion": 8}, "operator by operator (320 channels are over 256)"),
        (8, {"backend": "reference"}, "operator by operator (backend is reference)"),
    ],
)
def test_the_description_tells_which_kernels_run(channels, choices, kernels):
    cell = SearchCell(4, 4, channels, False, False, steps=1, **choices)
    assert cell.kernels() == cell._ops[0].kernels() == kernels
    assert f"memory=store, kernels={kernels}" in repr(cell)
    assert f"kernels={kernels}" in repr(cell._ops[0])
    plain = SearchCell(4, 4, channels, False, False, 1, **choices | {"backend": "reference"})
    plain.load_state_dict(cell.state_dict())
    s0, s1 = torch.randn(2, 2, 4, 4, 4)
    alphas = torch.full((2, 8), 1 / 8)
    torch.testing.assert_close(cell(s0, s1, alphas), plain(s0, s1, alphas))


def test_float16_runs_operator_by_operator():
    cell, plain = make().half(), make(backend="reference").half()
    plain.load_state_dict(cell.state_dict())
    arguments = operands(torch.float16)
    output = cell(*arguments)
    assert output.dtype == torch.float16
    torch.testing.assert_close(output, plain(*arguments), atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize(
    ("autocast", "expected"), [(torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)]
)
def test_autocast_stores_bfloat16_and_keeps_float32_in_place_of_float16(autocast, expected):
    with torch.autocast("cpu", autocast):
        assert make()(*operands()).dtype == expected
        assert make().double()(*operands(torch.float64)).dtype == torch.float64


def test_inputs_may_be_laid_out_or_not():
    cell = make().eval()
    s0, s1, *weights = operands()
    expected = cell(s0, s1, *weights)
    for first in (s0, lay_out(s0)):
        assert torch.equal(cell(first, s1, *weights), expected)
        output = cell(first, lay_out(s1), *weights)
        assert output.feature_shape == expected.shape
        assert torch.equal(feature_map(output), expected)


def test_hooks_on_the_cells_of_a_network_see_image_blocks():
    network = SearchNetwork(init_channels=8, layers=3, steps=2, num_classes=3)
    seen, gradients = [], []
    network.cells[1].register_forward_hook(lambda cell, inputs, output: seen.append(output))
    network.cells[2].register_full_backward_hook(lambda *hook: gradients.append(hook[2]))
    network(torch.randn(3, 3, 16, 16)).sum().backward()
    assert all(cell.kernels() == "fused cell" for cell in network.cells)
    assert [type(output) for output in seen] == [ImageBlocks]
    assert seen[0].feature_shape == (3, 32, 8, 8)
    assert gradients[0][0].shape == (1, 64, 4, 4, 16)


def test_copies_and_pickles_compute_the_same_on_the_same_kernels():
    cell = make()
    arguments = operands()
    file = io.BytesIO(pickle.dumps(cell))
    copies = [copy.deepcopy(cell), pickle.load(file)]
    expected, state = cell(*arguments), copy.deepcopy(cell.state_dict())
    for each in copies:
        assert each.kernels() == "fused cell"
        assert torch.equal(each(*arguments), expected)
        torch.testing.assert_close(each.state_dict(), state)
        with torch.no_grad():
            convolution(each).weight.mul_(2)
        assert not torch.equal(each(*arguments), cell(*arguments))


def test_a_functional_call_uses_the_weights_it_is_given():
    cell, other = make(), make()
    arguments = operands()
    weights = {name: weight.detach() for name, weight in other.named_parameters()}
    torch.testing.assert_close(
        torch.func.functional_call(cell, weights, arguments), other(*arguments)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_of_another_dtype_computes_in_it(dtype):
    network = SearchNetwork(init_channels=8, layers=3, steps=2).to(dtype)
    logits = network(torch.randn(2, 3, 16, 16, dtype=dtype))
    assert logits.dtype == dtype
    logits.float().square().sum().backward()
    assert all(p.grad.dtype == dtype for p in [*network.parameters(), *network.arch_parameters()])


def test_a_single_value_has_no_batch_statistics():
    cell = make()
    s0, s1, *weights = operands()
    with pytest.raises(ValueError, match="more than one value per channel"):
        cell(s0[:1, :, :1, :1], s1[:1, :, :1, :1], *weights)
    assert cell.eval()(s0[:1, :, :1, :1], s1[:1, :, :1, :1], *weights).shape == (1, 16, 1, 1)
