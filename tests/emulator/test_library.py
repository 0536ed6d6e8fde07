"""The emulated operators as Python sees them."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest
import torch
from conftest import seed_of_run

from adarts_ext import ops
from emulator import library
from emulator.library import launches, load, seed

pytestmark = pytest.mark.slow


@pytest.fixture
def any_order():
    yield seed
    seed(1)


def all_results() -> list[torch.Tensor]:
    """Return what the operators give where many threads and blocks have a share in a result."""
    torch.manual_seed(seed_of_run())
    kernels = load()
    x, scores = torch.randn(5, 12, 33, 7), torch.rand(5, 12)
    w1, w2, index = torch.randn(6, 12), torch.randn(12, 6), torch.tensor([3, 3, 11])
    inputs, weights = [torch.randn(3000) for _ in range(3)], torch.randn(3)
    attention = kernels.channel_attention(x, w1, w2)
    grads = kernels.channel_attention_backward(
        scores, attention[0], w1, w2, *attention[1:], 33, 7, False, True, True, True
    )
    gathered = kernels.gather_channels_backward(x[:, :3], x, index, scores, 12, True, True)
    scattered = kernels.scatter_channels_backward(
        x[:, :, :16, :3].contiguous(), x[:, :, :32, :6], index[1:], scores, 2, True, True, True
    )
    mixed = kernels.mixed_sum_backward(inputs[0], inputs, weights, [True] * 3, True)
    maps, flags = [x, x.relu(), x.tanh()], [True, False, True]
    normalized, norms = kernels.normalized_mixed_sum(maps, weights, flags, None, 1e-5)
    of_normalized = kernels.normalized_mixed_sum_backward(
        x, maps, weights, flags, norms, True, [True] * 3, True
    )
    chosen = kernels.select_channels(scores, 4)
    first = [*attention, *grads, *gathered, *scattered, *mixed]
    return [*first, normalized, norms, *of_normalized, chosen]


def test_results_do_not_depend_on_the_order_of_threads(any_order):
    first = all_results()
    for value in (2, 3):
        any_order(value)
        for a, b in zip(first, all_results(), strict=True):
            assert torch.equal(a, b)


def test_launches_are_counted_by_kernel():
    kernels = load()
    scores = torch.rand(2, 8)
    kernels.select_channels(scores, 2)
    with launches() as counts:
        kernels.select_channels(scores, 2)
        kernels.select_channels(scores, 0)
        kernels.select_channels(scores, 3)
    assert sum(counts.values()) == 2, "no blocks are no launch"
    (name,) = counts
    assert name.startswith("select")


@pytest.mark.parametrize("wrong", [-1, 4])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_an_error_in_a_kernel_is_an_error_in_python(wrong, memory):
    x = torch.ones(1, 4, 2, 2).contiguous(memory_format=memory)
    with pytest.raises(RuntimeError, match=r"kernel gather_\w+, block .*, thread .*: assertion"):
        load().gather_channels(x, torch.tensor([0, wrong]), None)


def test_many_python_threads_may_launch():
    kernels = load()
    inputs = [torch.full((2000,), float(i)) for i in range(4)]

    def run(weight: int) -> bool:
        out = kernels.mixed_sum(inputs, torch.full((4,), float(weight)))
        return bool((out == 6 * weight).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(40)))


PLANTED = """\
import torch

anything = torch.ops.adarts_ext
mixed_sum = torch.ops.adarts_ext.mixed_sum

def right(*arguments):
    return anything.mixed_sum(*arguments)

def on_the_cpu(*arguments):
    return mixed_sum(*arguments)

def not_there(*arguments):
    return anything.planted(*arguments)

def plain(inputs, weights):
    return sum(w * x for w, x in zip(weights, inputs))
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A module of an operator, found as all others are and named by no list."""
    (tmp_path / "planted_operator.py").write_text(PLANTED)
    monkeypatch.setattr(ops, "__path__", [*ops.__path__, str(tmp_path)])
    yield import_module("adarts_ext.ops.planted_operator")
    del sys.modules["adarts_ext.ops.planted_operator"], ops.planted_operator


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("on_the_cpu", AssertionError, "adarts_ext::mixed_sum ran on the CPU's kernels"),
        ("not_there", AttributeError, "adarts_emulated' object has no attribute 'planted'"),
        ("plain", AssertionError, "no emulated operator ran"),
    ],
)
def test_an_operator_that_is_not_emulated_fails_the_test(planted, kind, error, message):
    arguments = [torch.ones(2), torch.ones(2)], torch.ones(2)
    with library.emulated(), launches() as counts:
        planted.right(*arguments)
    assert counts.total() == 1
    with pytest.raises(error, match=message), library.emulated():
        getattr(planted, kind)(*arguments)
    assert planted.on_the_cpu(*arguments).tolist() == [2, 2], "afterwards all is as before"
    assert planted.anything is torch.ops.adarts_ext
