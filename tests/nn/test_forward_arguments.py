"""What the modules say of inputs that are no tensors, and of derivatives that the kernels lack."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn as torch_nn

import adarts_ext
from adarts_ext import nn
from adarts_ext.genotype import ADARTS_V1
from adarts_ext.reference.networks import Network

IMAGES = torch.zeros(2, 3, 16, 16)
MAP = torch.zeros(2, 8, 4, 4)
MODULES = {
    "ChannelAttention": (lambda: nn.ChannelAttention(8), {"x": MAP}),
    "DerivedNetwork": (lambda: nn.DerivedNetwork(ADARTS_V1, 4, layers=3), {"x": IMAGES}),
    "EfficientChannelAttention": (lambda: nn.EfficientChannelAttention(8), {"x": MAP}),
    "PartialMixedOp": (lambda: nn.PartialMixedOp(8, 1), {"x": MAP, "weights": torch.ones(8)}),
    "SearchCell": (
        lambda: nn.SearchCell(8, 8, 8, False, False, steps=1),
        {"first input": MAP, "second input": MAP, "alphas": torch.ones(2, 8)},
    ),
    "SearchNetwork": (lambda: nn.SearchNetwork(4, layers=3), {"x": IMAGES}),
}
WRONG = {"list": [1.0], "ndarray": np.ones((2, 8, 4, 4)), "NoneType": None, "float": 1.0}


def test_every_module_has_a_case():
    public = {name: getattr(nn, name) for name in nn.__all__}
    classes = {name: one for name, one in public.items() if isinstance(one, type)}
    modules = {name for name, one in classes.items() if issubclass(one, torch_nn.Module)}
    assert modules == set(MODULES)
    for build, arguments in MODULES.values():
        build().eval()(*arguments.values())


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize(
    ("name", "argument"),
    [(name, argument) for name, (_, arguments) in MODULES.items() for argument in arguments],
)
def test_what_is_no_tensor_is_named(name, argument, kind):
    build, arguments = MODULES[name]
    expected = rf"^{name}: {argument} is of type {kind}, expected torch\.Tensor"
    with pytest.raises(TypeError, match=expected):
        build()(*(arguments | {argument: WRONG[kind]}).values())


def test_betas_may_be_none_but_nothing_else():
    cell = nn.SearchCell(8, 8, 8, False, False, steps=1)
    with pytest.raises(TypeError, match=r"^SearchCell: betas is .* list, expected .* or None"):
        cell(MAP, MAP, torch.ones(2, 8), [1.0, 1.0])


def by_operator():
    network = nn.SearchNetwork(4, layers=3)
    for cell in network.cells:
        cell._ops[0].register_forward_hook(lambda *_: None)
        assert cell.kernels().startswith("operator by operator")
    return network


def accelerated():
    return adarts_ext.accelerate(Network("pc-darts", layers=3))


def squares(network, parameters, x):
    logits = torch.func.functional_call(network, parameters, (x,))
    return logits[-1].square().sum()


def gradients_of(network, parameters, x):
    return torch.func.grad(lambda some: squares(network, some, x))(parameters)


def second_derivatives_of(network, parameters, x):
    parameters = {name: p.requires_grad_() for name, p in parameters.items()}
    gradients = torch.autograd.grad(
        squares(network, parameters, x),
        parameters.values(),
        create_graph=True,
        allow_unused=True,  # the authors' networks have more weights than they use
    )
    sum(g.square().sum() for g in gradients if g is not None).backward()


def each_image(network, parameters, x):
    return torch.func.vmap(lambda image: squares(network, parameters, image[None]))(x)


BEYOND = {"grad": gradients_of, "double": second_derivatives_of, "vmap": each_image}
FUSED = {
    "store": lambda: nn.SearchNetwork(4, layers=3),
    "recompute": lambda: nn.SearchNetwork(4, layers=3, memory="recompute"),
    "operator by operator": by_operator,
    "accelerated": accelerated,
}
COMPLETE = {
    "reference": lambda: nn.SearchNetwork(4, layers=3, backend="reference"),
    "restored": lambda: adarts_ext.restore(accelerated()),
}


@functools.cache
def made(build):
    return build().eval()


def parameters_of(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize("beyond", BEYOND)
@pytest.mark.parametrize("kind", FUSED)
def test_a_network_says_what_has_the_derivatives_that_its_kernels_lack(kind, beyond):
    network = made(FUSED[kind])
    with pytest.raises(RuntimeError, match=r'backend="reference" or restored by adarts_ext\.resto'):
        BEYOND[beyond](network, parameters_of(network), torch.randn(2, 3, 16, 16))


@pytest.mark.slow
@pytest.mark.parametrize("beyond", BEYOND)
@pytest.mark.parametrize("kind", COMPLETE)
def test_what_it_names_has_them(kind, beyond):
    network = made(COMPLETE[kind])
    BEYOND[beyond](network, parameters_of(network), torch.randn(2, 3, 16, 16))
