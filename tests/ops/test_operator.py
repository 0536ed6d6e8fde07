"""What every public operator does around its own work."""

from __future__ import annotations

import inspect
from importlib import import_module

import numpy as np
import pytest
import torch
from conftest import run_program
from operator_cases import ARGUMENTS, FUNCTIONS, first_input, first_output
from operators import COMPILED, OPERATORS
from torch.autograd import forward_ad

from adarts_ext import ops, reference
from adarts_ext.memory import is_out_of_memory
from adarts_ext.ops import common, operator

DIFFERENTIABLE = sorted(set(OPERATORS) - {"select_channels"})
TENSORS = [
    (name, parameter.name, parameter.annotation)
    for name in FUNCTIONS
    for parameter in inspect.signature(getattr(ops, name)).parameters.values()
    if "Tensor" in parameter.annotation
]
WRONG = {"list": [1.0, 2.0], "ndarray": np.ones((2, 3, 2, 2)), "number": 1.5, "None": None}
MISTAKES = [
    (*tensor, kind) for tensor in TENSORS for kind in WRONG if not tensor[2].endswith(f"| {kind}")
]


def call(name, arguments, functions=ops):
    return first_output(getattr(functions, name)(**arguments))


def test_every_public_operator_has_a_case():
    assert set(ARGUMENTS) == set(FUNCTIONS) >= set(OPERATORS)
    assert {kind for _, _, kind in TENSORS} == {"Tensor", "Tensor | None", "Sequence[Tensor]"}
    for name in FUNCTIONS:
        assert isinstance(call(name, ARGUMENTS[name]()), torch.Tensor)


@pytest.mark.parametrize(("name", "argument", "annotation", "kind"), MISTAKES)
@pytest.mark.parametrize("by_keyword", [True, False])
def test_what_is_no_tensor_is_named(name, argument, annotation, kind, by_keyword):
    arguments = ARGUMENTS[name]() | {argument: WRONG[kind]}
    known = inspect.signature(getattr(ops, name)).parameters.values()
    positional = [] if by_keyword else [arguments.get(one.name, one.default) for one in known]
    sequence = annotation.startswith("Sequence")
    place = rf"{argument}\[0\]" if sequence and kind in ("list", "ndarray") else argument
    expected = "a sequence of torch.Tensor" if sequence and place == argument else "torch.Tensor"
    with pytest.raises(TypeError, match=rf"^{name}: {place} is of type \w+, expected {expected}"):
        getattr(ops, name)(*positional, **(arguments if by_keyword else {}))


@pytest.mark.parametrize("name", ["mixed_sum", "normalized_mixed_sum"])
def test_any_iterable_is_a_sequence(name):
    arguments = ARGUMENTS[name]()
    expected = call(name, arguments)
    inputs = arguments["inputs"]
    for same in (tuple(inputs), torch.stack(inputs), (x for x in inputs)):
        assert torch.equal(call(name, arguments | {"inputs": same}), expected)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_parameter_is_a_tensor(name):
    x, given = first_input(ARGUMENTS[name]())
    call(name, given(torch.nn.Parameter(x))).sum().backward()


def loss_of(name, functions=ops):
    x, given = first_input(ARGUMENTS[name]())
    return x, lambda x: call(name, given(x), functions).square().sum()


def forward_mode(loss, x):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(loss(forward_ad.make_dual(x, torch.ones_like(x)))).tangent


def gradient(loss, x):
    x = x.detach().requires_grad_()
    (found,) = torch.autograd.grad(loss(x), x, create_graph=True)
    return x, found


def double_backward(loss, x):
    x, found = gradient(loss, x)
    found.square().sum().backward()
    return x.grad


BEYOND = {
    "grad": lambda loss, x: torch.func.grad(loss)(x),
    "jacrev": lambda loss, x: torch.func.jacrev(loss)(x),
    "vmap": lambda loss, x: torch.func.vmap(loss)(torch.stack([x, x])),
    "jvp": lambda loss, x: torch.func.jvp(loss, (x,), (torch.ones_like(x),)),
    "forward mode": forward_mode,
    "double backward": double_backward,
    "hessian": torch.autograd.functional.hessian,
    "several gradients": lambda loss, x: torch.autograd.functional.jacobian(
        lambda x: torch.stack([loss(x), loss(2 * x)]), x, vectorize=True
    ),
}


@pytest.mark.parametrize("beyond", BEYOND)
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_derivative_that_an_operator_lacks_is_an_error_that_says_what_has_it(name, beyond):
    x, loss = loss_of(name)
    with pytest.raises(RuntimeError, match=rf"^{name}: .*adarts_ext\.reference\.{name} .*backend="):
        BEYOND[beyond](loss, x)


@pytest.mark.parametrize("beyond", BEYOND)
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_definition_has_it(name, beyond):
    x, loss = loss_of(name, reference)
    BEYOND[beyond](loss, x)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_no_second_derivative_is_taken_for_zero(name):
    """As where the gradient that arrives is a constant, and the result joins another loss."""
    x, given = first_input(ARGUMENTS[name]())
    leaves = [x.requires_grad_()]
    leaves += [a.requires_grad_() for a in given(x).values() if a is not None and is_floating(a)]
    out = call(name, given(x))
    found = torch.autograd.grad(out.sum(), leaves, create_graph=True, allow_unused=True)
    total = sum(leaf.square().sum() for leaf in leaves)
    total = total + sum(g.square().sum() for g in found if g is not None)
    with pytest.raises(RuntimeError, match=f"^{name}: .* not second ones"):
        total.backward()


def is_floating(argument):
    return isinstance(argument, torch.Tensor) and argument.is_floating_point()


def test_a_second_derivative_that_is_zero_is_zero():
    x = torch.randn(2, 3, 2, 2, requires_grad=True)
    out = ops.gather_channels(x, torch.tensor([1, 0]))
    (found,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    assert not found.requires_grad
    (x.square().sum() + found.sum()).backward()
    assert torch.equal(x.grad, 2 * x)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_gradient_with_a_graph_is_the_gradient(name):
    x, loss = loss_of(name)
    x, found = gradient(loss, x)
    (expected,) = torch.autograd.grad(loss(x), x)
    assert torch.equal(found, expected)


OUT_OF_MEMORY = {
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has": torch.OutOfMemoryError,
    "std::bad_alloc": MemoryError,
    "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory": RuntimeError,
}


class Full:
    """Compiled operators of which one has no memory left, as torch's stable ABI passes it on."""

    def __init__(self, full, words):
        self.full, self.words = full, words

    def __getattr__(self, name):
        return self.fail if name == self.full else getattr(torch.ops.adarts_ext, name)

    def fail(self, *arguments):
        raise RuntimeError(self.words)


@pytest.mark.parametrize("words", OUT_OF_MEMORY)
@pytest.mark.parametrize("compiled", sorted(COMPILED))
def test_out_of_memory_has_the_class_that_it_has_in_torch(compiled, words, monkeypatch):
    name = compiled.removesuffix("_backward")
    for module in (import_module(f"adarts_ext.ops.{name}"), common):
        monkeypatch.setattr(module, "kernels", Full(compiled, words))
    x, given = first_input(ARGUMENTS[name]())
    with pytest.raises(OUT_OF_MEMORY[words]) as caught:
        call(name, given(x.requires_grad_())).sum().backward()
    assert (type(caught.value), str(caught.value)) == (OUT_OF_MEMORY[words], words)
    assert is_out_of_memory(caught.value)


WORDLESS = [
    'torch failed in aoti_torch_call_dispatcher("aten::empty", "memory_format", stack.data())',
    'aoti_torch_call_dispatcher("aten::empty") API call failed at ops.h, line 374',
]


@pytest.mark.parametrize("words", WORDLESS)
def test_out_of_memory_without_words_is_told_by_torchs_count(words, monkeypatch):
    """As torch 2.11 and 2.12 have it; what they count is planted."""
    ooms = [0, 0]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(ooms))
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda device: {"num_ooms": ooms[device]})
    monkeypatch.setattr(operator, "_ooms_seen", 0)
    for module in (import_module("adarts_ext.ops.mixed_sum"), common):
        monkeypatch.setattr(module, "kernels", Full("mixed_sum", words))

    def fail():
        with pytest.raises(RuntimeError) as caught:
            call("mixed_sum", ARGUMENTS["mixed_sum"]())
        return type(caught.value)

    assert fail() is RuntimeError
    ooms[1] += 1
    assert fail() is torch.OutOfMemoryError
    assert fail() is RuntimeError, "the same one is not counted twice"


@pytest.mark.skipif(torch.__version__ < "2.13", reason="torch does not pass on its words")
def test_too_large_a_result_is_the_error_that_torch_has(capfd):
    with pytest.raises(RuntimeError) as torchs:
        torch.empty(2**50)
    x = torch.zeros(1).expand(2**50)
    with pytest.raises(RuntimeError) as ours:
        ops.mixed_sum([x, x], torch.ones(2))
    assert str(ours.value) == str(torchs.value)
    assert is_out_of_memory(ours.value)
    assert capfd.readouterr() == ("", "")  # no stack trace


@pytest.mark.slow
def test_memory_that_a_kernel_lacks_is_a_memory_error():
    program = (
        "import resource, torch; from adarts_ext import ops\n"
        "scores = torch.empty(1, 2**27)\n"
        "ops.select_channels(torch.rand(1, 3), 1)\n"
        "taken = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (taken + 2**29,) * 2)\n"
        "ops.select_channels(scores, 1)"
    )
    made = run_program(program)
    assert made.stderr.endswith("\nMemoryError: std::bad_alloc\n")


def test_other_errors_of_the_kernels_stay_as_they_are():
    with pytest.raises(RuntimeError, match="expected 0 to 2 for 3 channels") as caught:
        ops.gather_channels(torch.zeros(1, 3, 2, 2), torch.tensor([3]))
    assert type(caught.value) is RuntimeError
    assert caught.value.__cause__ is None
