"""``graphed`` on the CPU, where its graphs are played (:mod:`replay`)."""

from __future__ import annotations

import warnings

import pytest
import torch
from replay import graphs_on_the_cpu

from adarts_ext import graphed
from adarts_ext.cuda_graph import WARM_UP


@pytest.fixture
def graphs():
    with graphs_on_the_cpu():
        yield


def decay():
    """A function that changes what is outside, and how often Python ran it."""
    weight, runs = torch.ones(3), []

    def step(x, y):
        runs.append(len(x))
        weight.mul_(0.5)
        return (weight * x).sum(), [weight + y][0]

    return step, weight, runs


def draw(count=2):
    return torch.randn(count, 3), torch.randn(count, 3)


def test_it_does_what_the_function_does(graphs):
    plain, plain_weight, _ = decay()
    step, weight, runs = decay()
    step = graphed(step)
    for _ in range(WARM_UP + 4):
        x, y = draw()
        for one, other in zip(step(x, y), plain(x, y), strict=True):
            assert torch.equal(one, other)
        assert torch.equal(weight, plain_weight)
    assert step.reason_not_captured is None
    assert len(runs) == WARM_UP + 1  # the others were replays


def test_what_it_gives_is_the_callers_own(graphs):
    step = graphed(lambda x: x + 1)
    results = [step(torch.full((2,), float(k))) for k in range(WARM_UP + 4)]
    assert [result[0].item() for result in results] == [k + 1.0 for k in range(WARM_UP + 4)]


@pytest.mark.parametrize("outputs", [None, "tensor", "tuple", "list"])
def test_what_the_function_gives_keeps_its_form(graphs, outputs):
    forms = {None: lambda x: None, "tensor": lambda x: x * 2}
    forms |= {"tuple": lambda x: (x * 2, x * 3), "list": lambda x: [x * 2, x * 3]}
    step, x = graphed(forms[outputs]), torch.ones(2)
    found = [step(x) for _ in range(WARM_UP + 2)]
    assert [type(one) for one in found] == [type(forms[outputs](x))] * len(found)


def test_tensors_of_another_shape_run_as_they_are(graphs):
    step, weight, runs = decay()
    step = graphed(step)
    for _ in range(WARM_UP + 2):
        step(*draw())
    step(*draw(1))
    assert "shapes" in step.reason_not_captured
    assert runs[-1] == 1
    step(*draw())
    assert step.reason_not_captured is None
    assert weight[0].item() == 0.5 ** (WARM_UP + 4)


HOST_READS = {
    "item": lambda x: x * x.sum().item(),
    "branch": lambda x: x + 1 if x.sum() > 0 else x,
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "randperm": lambda x: x[torch.randperm(len(x))],
    "number": lambda x: x * torch.tensor(2.0),
}


@pytest.mark.parametrize("name", HOST_READS)
def test_what_cannot_be_captured_runs_as_it_is_and_is_told_once(graphs, name):
    step = graphed(HOST_READS[name])
    x = torch.rand(4)
    for _ in range(WARM_UP):
        step(x)
    with pytest.warns(UserWarning, match=r"launched kernel by kernel.*waits for the GPU"):
        assert step(x).shape == HOST_READS[name](x).shape
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(x)
    assert "cannot be captured" in step.reason_not_captured


def test_gradients_do_not_come_out_of_a_graph(graphs):
    weight = torch.ones(3, requires_grad=True)
    step = graphed(lambda x: (weight * x).sum())
    for _ in range(WARM_UP):
        step(torch.ones(3)).backward()
    with pytest.warns(UserWarning, match=r"requires a gradient; backward\(\) must be within"):
        step(torch.ones(3)).backward()
    assert torch.equal(weight.grad, torch.full((3,), WARM_UP + 1.0))
    step(torch.ones(3)).backward()
    assert torch.equal(weight.grad, torch.full((3,), WARM_UP + 2.0))


def test_what_requires_a_gradient_runs_as_it_is(graphs):
    step = graphed(lambda x: (x * x).sum())
    x = torch.ones(3, requires_grad=True)
    for _ in range(WARM_UP + 2):
        (gradient,) = torch.autograd.grad(step(x), x)
        assert torch.equal(gradient, torch.full((3,), 2.0))
    assert step.reason_not_captured == "a tensor that is given requires a gradient"


def test_an_error_of_the_function_is_raised(graphs):
    step = graphed(lambda x, y: x @ y)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        step(torch.ones(2, 3), torch.ones(2, 3))


def test_on_the_cpu_it_is_the_function():
    step, _, runs = decay()
    step = graphed(step)
    for _ in range(WARM_UP + 2):
        step(*draw())
    assert len(runs) == WARM_UP + 2
    assert step.reason_not_captured == "not all tensors are on a GPU"
