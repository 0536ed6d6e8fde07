"""The self-check: it passes what is right, and refuses with figures what is not."""

from __future__ import annotations

import copy

import pytest
import torch
from acceleration_case import STYLES, images, make
from torch import Tensor, nn

from adarts_ext import accelerate
from adarts_ext.compat import acceleration_report, fused_cell, fused_mixed_op, verify
from adarts_ext.nn import fused

pytestmark = pytest.mark.slow


def assert_untouched(network: nn.Module, before: nn.Module) -> None:
    kinds = [[type(module) for module in each.modules()] for each in (network, before)]
    assert kinds[0] == kinds[1]
    assert acceleration_report(network).entries == ()
    now = network.state_dict()
    for name, value in before.state_dict().items():
        assert torch.equal(now[name], value), name
    for mine, theirs in zip(network.arch_parameters(), before.arch_parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.grad is None
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.training == before.training


@pytest.mark.usefixtures("recognized_once")
@pytest.mark.parametrize(("style", "training"), [*zip(STYLES, [True, False] * 2, strict=True)])
def test_it_passes_on_what_is_right_and_changes_nothing(style, training):
    network = make(style).train(training)
    before = copy.deepcopy(network)
    state = torch.random.get_rng_state()
    assert accelerate(network, verify=True) is network
    assert torch.equal(torch.random.get_rng_state(), state)
    assert acceleration_report(network).levels() == {"cell": 3}
    now = network.state_dict()
    for name, value in before.state_dict().items():
        assert torch.equal(now[name], value), name
    assert all(
        tensor.grad is None for tensor in (*network.parameters(), *network.arch_parameters())
    )
    assert network.training == training


def forward(blocks: Tensor) -> Tensor:
    return blocks * (1 + 1e-3)


def backward(blocks: Tensor) -> Tensor:
    blocks.register_hook(lambda grad: grad * (1 + 1e-3))
    return blocks


@pytest.mark.usefixtures("recognized_once")
@pytest.mark.parametrize("wrong", [forward, backward])
@pytest.mark.parametrize("style", ["darts", "adarts"])
def test_it_refuses_kernels_that_are_wrong_in_the_models_precision(style, wrong, monkeypatch):
    """In float64, in which cells are tried out, they are right."""
    mix = fused.mix

    def wrong_mix(*given, **more):
        nodes = mix(*given, **more)
        if nodes.blocks.dtype == torch.float64:
            return nodes
        return nodes._replace(blocks=wrong(nodes.blocks))

    monkeypatch.setattr(fused, "mix", wrong_mix)
    network = make(style)
    before = copy.deepcopy(network)
    figures = r"weights \d\.\de-0[34] accelerated, \d\.\de-0[4-8] before"
    with pytest.raises(ValueError, match=rf"differs from the model: .*{figures}.* left as it was"):
        accelerate(network, verify=images(style))
    assert_untouched(network, before)


def test_wrong_statistics_are_found_without_it(monkeypatch):
    for module in (fused_cell, fused_mixed_op):
        monkeypatch.setattr(module, "update_running_statistics", lambda updates: None)
    network = make("darts")
    with pytest.warns(UserWarning, match="running_mean differs"):
        accelerate(network)
    assert set(acceleration_report(network).levels()) == {"untouched"}


@pytest.mark.usefixtures("recognized_once")
def test_it_takes_the_images_that_are_given(monkeypatch):
    seen, run = [], verify._run
    monkeypatch.setattr(verify, "_run", lambda model, x: seen.append(x) or run(model, x))
    x = images("pc_darts", batch=2)
    accelerate(make("pc_darts"), verify=x)
    assert len(seen) == 3
    assert all(torch.equal(each.float(), x) for each in seen)


class OfOneSize(nn.Module):
    """A network whose classifier takes images of 16 x 16 only."""

    def __init__(self) -> None:
        super().__init__()
        self.search = make("darts")
        self.search.global_pooling = nn.Identity()
        self.search.classifier = nn.Linear(32 * 4 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.search(x)

    def arch_parameters(self) -> list[Tensor]:
        return self.search.arch_parameters()


@pytest.mark.usefixtures("recognized_once")
def test_images_that_do_not_fit_raise_and_leave_the_model_as_it_was():
    network = OfOneSize()
    before = copy.deepcopy(network)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        accelerate(network, verify=True)
    assert_untouched(network, before)
    accelerate(network, verify=images("darts"))
    assert acceleration_report(network).levels() == {"cell": 3}


def test_a_model_without_convolutions_needs_images():
    cells = make("darts").cells
    stem = nn.Linear(2, 12)

    class FromVectors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.cell = stem, cells[0]

        def forward(self, x: Tensor) -> Tensor:
            h = self.stem(x)[..., None, None].expand(-1, -1, 4, 4) * torch.rand(4, 4).to(x)
            return self.cell(h, h, torch.full((5, 8), 1 / 8).to(x))

    model = accelerate(FromVectors(), verify=torch.randn(6, 2))
    assert acceleration_report(model).levels() == {"cell": 1}
