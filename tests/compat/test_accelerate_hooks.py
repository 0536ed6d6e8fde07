"""Hooks on accelerated cells and on what is inside them, and gradients of what lies between."""

from __future__ import annotations

import pytest
import torch
from acceleration_case import STYLES, cells, images, make, make_accelerated, results
from comparison import assert_exact
from torch import Tensor, nn

from adarts_ext import accelerate
from adarts_ext.compat import acceleration_report
from adarts_ext.nn import image_blocks

DOUBLE = torch.float64
CLOSE = {"rtol": 1e-8, "atol": 1e-10}


def both(style: str) -> tuple[nn.Module, nn.Module]:
    """An accelerated network and the same one plain."""
    return make_accelerated(style, dtype=DOUBLE), make(style, dtype=DOUBLE)


def assert_same(network: nn.Module, plain: nn.Module, style: str) -> None:
    x = images(style, dtype=DOUBLE)
    assert_exact(results(network, x), results(plain, x))


@pytest.mark.parametrize("style", STYLES)
def test_hooks_on_cells_see_what_they_saw(style):
    seen: list[list[Tensor]] = []
    networks = both(style)
    for network in networks:
        tensors: list[Tensor] = []
        seen.append(tensors)
        for cell in cells(network):
            cell.register_forward_pre_hook(lambda cell, inputs, to=tensors: to.extend(inputs))
            cell.register_forward_hook(lambda cell, inputs, y, to=tensors: to.append(y))
            cell.register_full_backward_pre_hook(lambda cell, grads, to=tensors: to.extend(grads))
            cell.register_full_backward_hook(
                lambda cell, grads, outputs, to=tensors: to.extend((*grads, *outputs))
            )
        network(images(style, dtype=DOUBLE)).square().sum().backward()
    assert len(seen[0]) > 3 * 8
    for mine, theirs in zip(*seen, strict=True):
        torch.testing.assert_close(mine, theirs, **CLOSE)
    assert acceleration_report(networks[0]).levels() == {"cell": 3}


@pytest.mark.parametrize("style", STYLES)
def test_hooks_on_cells_may_change_inputs_outputs_and_gradients(style):
    network, plain = both(style)
    for each in (network, plain):
        first, second, third = cells(each)
        first.register_forward_hook(lambda cell, inputs, y: 2 * y)
        second.register_forward_pre_hook(lambda cell, inputs: (-inputs[0], *inputs[1:]))
        third.register_full_backward_hook(lambda cell, grads, outputs: (3 * grads[0], *grads[1:]))
    assert_same(network, plain, style)
    assert acceleration_report(network).levels() == {"cell": 3}


def in_place(y: Tensor) -> None:
    y.mul_(2)


def through_detach(y: Tensor) -> None:
    y.detach().mul_(2)


def by_index(y: Tensor) -> None:
    y[:, :3] = 0


@pytest.mark.parametrize("change", [in_place, through_detach, by_index])
@pytest.mark.parametrize("batch", [3, 16])
def test_an_output_changed_in_place_is_respected(change, batch):
    network, plain = both("pc_darts")
    for each in (network, plain):
        each.cells[0].register_forward_hook(lambda cell, inputs, y: change(y))
    x = images("pc_darts", batch, DOUBLE)
    with torch.no_grad():
        torch.testing.assert_close(network(x), plain(x), **CLOSE)
    assert_exact(results(network, x), results(plain, x))
    assert acceleration_report(network).levels() == {"cell": 3}


@pytest.mark.parametrize("change", [in_place, through_detach, by_index])
def test_an_input_changed_in_place_between_two_cells_is_respected(change):
    """The stem's output, which the second cell takes too."""
    network, plain = both("pc_darts")
    for each in (network, plain):
        each.cells[1].register_forward_pre_hook(lambda cell, inputs: change(inputs[0]))
    assert_same(network, plain, "pc_darts")
    assert acceleration_report(network).levels() == {"cell": 3}


def test_the_stems_output_is_laid_out_once_in_a_pass(monkeypatch):
    seen = []
    lay_out = image_blocks.to_image_blocks
    monkeypatch.setattr(
        image_blocks, "to_image_blocks", lambda x: lay_out(seen.append(x.shape) or x)
    )
    network = accelerate(make("darts"))
    x = images("darts")
    seen.clear()
    network(x).sum().backward()
    assert seen == [(3, 12, 16, 16)]


@pytest.mark.parametrize("style", STYLES)
def test_gradients_of_a_cells_output_are_seen_and_changed(style):
    found = []
    for each in both(style):
        outputs, hooked = [], []
        for cell in cells(each):
            cell.register_forward_hook(lambda cell, inputs, y, to=outputs: to.append(y))
        loss = each(images(style, dtype=DOUBLE)).square().sum()
        gradients = torch.autograd.grad(loss, outputs, retain_graph=True)
        outputs[0].retain_grad()
        outputs[1].register_hook(lambda grad, to=hooked: to.append(grad) or -grad)
        loss.backward()
        stem = next(each.parameters()).grad
        found.append([*gradients, *hooked, outputs[0].grad, stem])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, **CLOSE)


def test_hooks_on_parameters_see_their_gradients():
    network, plain = both("darts")
    seen: list[dict[str, Tensor]] = [{}, {}]
    for each, into in zip((network, plain), seen, strict=True):
        for name, parameter in each.named_parameters():
            parameter.register_hook(lambda g, into=into, name=name: into.update({name: g}))
        each(images("darts", dtype=DOUBLE)).square().sum().backward()
    assert seen[0].keys() == seen[1].keys() == dict(plain.named_parameters()).keys()
    for name, gradient in seen[0].items():
        torch.testing.assert_close(gradient, seen[1][name], **CLOSE)


@pytest.mark.parametrize("style", STYLES)
def test_a_hook_inside_a_cell_is_called_and_its_cell_runs_its_own_code(style):
    network, plain = both(style)
    seen: list[list[Tensor]] = [[], []]
    for each, into in zip((network, plain), seen, strict=True):
        norms = [m for m in cells(each)[1].modules() if isinstance(m, nn.BatchNorm2d)]
        handle = norms[-1].register_forward_hook(lambda m, inputs, y, into=into: into.append(y))
        each.handle = handle
    levels = acceleration_report(network).levels()
    assert (levels["cell"], levels["untouched"]) == (2, 2)  # the cell and the mixed op around it
    assert levels["mixed op"] == 4
    assert_same(network, plain, style)
    assert seen[0]
    for mine, theirs in zip(*seen, strict=True):
        torch.testing.assert_close(mine, theirs, **CLOSE)
    network.handle.remove()
    assert acceleration_report(network).levels() == {"cell": 3}


def test_a_hook_on_a_mixed_operation_is_called_around_the_fused_one():
    network, plain = both("pc_darts")
    for each in (network, plain):
        each.cells[0]._ops[2].register_forward_hook(lambda edge, inputs, y: 2 * y)
    report = acceleration_report(network)
    assert report.levels() == {"cell": 2, "mixed op": 5, "untouched": 1}
    assert report.entries[0].reason == "a layer has hooks"
    assert_same(network, plain, "pc_darts")
