"""What accelerating leaves as it was: objects, names, optimisers, copies, files, and the way back.

In float64, where an accelerated network differs from itself by 1e-12.
"""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from acceleration_case import STYLES, cells, images, make, make_accelerated, results
from comparison import assert_exact
from torch import Tensor, nn
from torch.nn import functional

from adarts_ext import accelerate
from adarts_ext.compat import acceleration_report, restore

pytestmark = pytest.mark.usefixtures("recognized_once")

DOUBLE = torch.float64
TARGET = torch.tensor([0, 3, 1])


def is_accelerated(network: nn.Module) -> bool:
    return acceleration_report(network).levels() == {"cell": len(cells(network))}


@pytest.mark.parametrize("style", STYLES)
def test_objects_names_and_classes_stay(style):
    network = make(style)

    def snapshot():
        tensors = [*network.parameters(), *network.buffers(), *network.arch_parameters()]
        return (
            [id(each) for each in (*network.modules(), *tensors)],
            list(network.state_dict()),
            [name for name, _ in network.named_parameters()],
            [(type(module).__name__, type(module).__module__) for module in network.modules()],
        )

    before = snapshot()
    assert accelerate(network) is network
    assert snapshot() == before
    assert isinstance(network, STYLES[style])
    assert isinstance(cells(network)[0], type(cells(make(style))[0]))


@pytest.mark.parametrize("style", STYLES)
def test_the_genotype_stays_and_new_makes_an_accelerated_network(style):
    plain, network = make(style), make_accelerated(style)
    assert network.genotype() == plain.genotype()
    made = network.new()
    assert is_accelerated(made)
    for again in (made, made.new()):  # in old code, some make it of type(self)
        assert type(again) is type(network)
        assert is_accelerated(again)
        pairs = zip(again.arch_parameters(), plain.arch_parameters(), strict=True)
        assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
        assert again.genotype() == plain.genotype()


def test_new_keeps_the_memory_mode_and_copies_belong_to_themselves():
    network = make_accelerated("darts", memory="recompute")
    made = network.new()
    assert [cell._acceleration.store for cell in made.cells] == [False] * 3
    assert not {id(p) for p in made.parameters()} & {id(p) for p in network.parameters()}


def optimisers(network: nn.Module) -> list[torch.optim.Optimizer]:
    return [
        torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, weight_decay=3e-4),
        torch.optim.Adam(network.arch_parameters(), 3e-2, betas=(0.5, 0.999), weight_decay=1e-3),
    ]


def train(network: nn.Module, style: str, optimizers: list[torch.optim.Optimizer]):
    """Three steps; the losses, and all that is left."""
    losses = []
    for step in range(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = network._loss(images(style, dtype=DOUBLE) + step, TARGET)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.detach())
    arch = {f"arch {i}": tensor for i, tensor in enumerate(network.arch_parameters())}
    return {"losses": torch.stack(losses)} | network.state_dict() | arch


@pytest.mark.parametrize("style", STYLES)
def test_optimisers_made_before_or_after_go_the_same_way(style):
    plain, early = make(style, dtype=DOUBLE), make(style, dtype=DOUBLE)
    late = make_accelerated(style, dtype=DOUBLE)
    of_early = optimisers(early)
    accelerate(early)
    found = [
        train(early, style, of_early),
        train(late, style, optimisers(late)),
        train(plain, style, optimisers(plain)),
    ]
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name
        torch.testing.assert_close(value, found[2][name], rtol=1e-7, atol=1e-9)


def pickled(network: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(network))


def saved(network: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled, saved])
@pytest.mark.parametrize("style", ["darts", "pc_darts_imagenet", "adarts"])
def test_copies_are_accelerated_and_independent(style, duplicate):
    network = make_accelerated(style, dtype=DOUBLE)
    made = duplicate(network)
    assert type(made) is type(network)
    assert is_accelerated(made)
    x = images(style, dtype=DOUBLE)
    expected = results(network, x)
    state = copy.deepcopy(network.state_dict())
    actual = results(made, x)
    assert all(torch.equal(actual[name], value) for name, value in expected.items())
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(1)
    now = network.state_dict()
    assert all(torch.equal(now[name], value) for name, value in state.items())
    assert not torch.equal(made(x), network(x))
    made = restore(made)
    assert is_accelerated(network)
    assert acceleration_report(made).entries == ()


@pytest.mark.parametrize("style", STYLES)
def test_a_state_dict_goes_to_a_file_and_into_either_network(style):
    network = make_accelerated(style, dtype=DOUBLE)
    network(images(style, dtype=DOUBLE))
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    others = [each(style, dtype=DOUBLE) for each in (make, make_accelerated)]
    expected = network.eval()(images(style, dtype=DOUBLE))
    for other in others:
        for tensor in (*other.parameters(), *other.arch_parameters()):
            tensor.data.add_(1)
        file.seek(0)
        other.load_state_dict(torch.load(file))
        for theirs, own in zip(other.arch_parameters(), network.arch_parameters(), strict=True):
            theirs.data.copy_(own)
        torch.testing.assert_close(other.eval()(images(style, dtype=DOUBLE)), expected)


def test_an_output_of_a_cell_is_saved_as_any_tensor():
    cell = make_accelerated("darts").cells[0]
    with torch.no_grad():
        output = cell(*torch.randn(2, 3, 12, 8, 8), torch.rand(5, 8))
    file = io.BytesIO()
    torch.save(output, file)
    assert len(file.getvalue()) < 2 * output.numel() * output.element_size()
    file.seek(0)
    assert torch.equal(torch.load(file), output)


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_restore_undoes_all_of_it(style):
    network, plain = make(style), make(style)
    kinds = [type(module) for module in network.modules()]
    attributes = [set(module.__dict__) for module in network.modules()]
    description = repr(network)
    accelerate(network)
    assert repr(network) != description
    accelerate(network, memory="recompute")  # a second time: as if it were the first
    assert restore(network) is network
    assert [type(module) for module in network.modules()] == kinds
    assert [set(module.__dict__) for module in network.modules()] == attributes
    assert repr(network) == description
    assert acceleration_report(network).entries == ()
    expected, actual = (results(each, images(style)) for each in (plain, network))
    assert all(torch.equal(actual[name], value) for name, value in expected.items())


def test_the_description_tells_how_a_cell_is_computed():
    network = make_accelerated("darts")
    assert "accelerated=cell" in repr(network.cells[0])
    network.cells[0].train()._ops[0]._ops[1][1].eval()
    assert "accelerated=no (the BatchNorms differ)" in repr(network.cells[0])


def test_a_part_of_a_model_may_be_accelerated_alone():
    network, plain = make("darts", dtype=DOUBLE), make("darts", dtype=DOUBLE)
    accelerate(network.cells[1])
    (entry,) = acceleration_report(network).entries
    assert (entry.name, entry.level) == ("cells.1", "cell")
    x = images("darts", dtype=DOUBLE)
    assert_exact(results(network, x), results(plain, x))


def test_arguments_may_be_given_by_name():
    network, plain = make_accelerated("pc_darts", dtype=DOUBLE), make("pc_darts", dtype=DOUBLE)
    s0, s1 = torch.randn(2, 3, 24, 8, 8, dtype=DOUBLE)
    weights = {"weights": torch.rand(5, 8, dtype=DOUBLE), "weights2": torch.rand(5, dtype=DOUBLE)}
    for arguments in ({"s1": s1, **weights}, {**weights, "s1": s1}):
        actual, expected = (each.cells[0](s0, **arguments) for each in (network, plain))
        torch.testing.assert_close(actual, expected)
    with pytest.raises(TypeError, match="weights2"):
        network.cells[0](s0, s1, weights=weights["weights"])


@pytest.mark.parametrize("style", ["pc_darts", "adarts"])
def test_parts_may_be_frozen(style):
    network, plain = make_accelerated(style, dtype=DOUBLE), make(style, dtype=DOUBLE)
    for each in (network, plain):
        for name, parameter in each.named_parameters():
            parameter.requires_grad_(not (".op.1." in name or "stem" in name or "fc1" in name))
        each.arch_parameters()[0].requires_grad_(False)
        loss = functional.cross_entropy(each(images(style, dtype=DOUBLE)), TARGET)
        loss.backward()
    tensors = [[*each.parameters(), *each.arch_parameters()] for each in (network, plain)]
    for mine, theirs in zip(*tensors, strict=True):
        assert (mine.grad is None) == (theirs.grad is None)
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-7, atol=1e-9)
    assert is_accelerated(network)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("style", STYLES)
def test_without_gradients(style, mode):
    network = make_accelerated(style, dtype=DOUBLE)
    x = images(style, dtype=DOUBLE)
    expected: Tensor = network(x)
    with mode():
        logits = network(x)
    assert not logits.requires_grad
    assert torch.equal(logits, expected)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: accelerate("network"), TypeError, "expected a torch.nn.Module, got str"),
        (lambda: accelerate(make("darts"), memory="little"), ValueError, "memory must be one of"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
