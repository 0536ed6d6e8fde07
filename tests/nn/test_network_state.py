"""What a supernet holds: names and state dicts, and the architecture parameters apart from it."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from test_network import METHODS, images, small

from adarts_ext.nn import SearchNetwork

ARCHITECTURE = ["alphas_normal", "alphas_reduce", "betas_normal", "betas_reduce"]


def expected_keys(layers: int, steps: int, attention: bool) -> set[str]:
    """State dict keys in DARTS's naming, without the architecture parameters."""
    norm = [f".{name}" for name in ("running_mean", "running_var", "num_batches_tracked")]
    reductions = {layers // 3, 2 * layers // 3}

    def convolution(prefix: str, *numbers: int) -> list[str]:
        """ReLU, depthwise, pointwise, norm: numbers of the first layer of each such group."""
        keys = []
        for number in numbers:
            keys += [f"{prefix}.op.{number + i}.weight" for i in (1, 2)]
            keys += [f"{prefix}.op.{number + 3}{key}" for key in norm]
        return keys

    def factorized(prefix: str) -> list[str]:
        return [
            f"{prefix}.conv_1.weight",
            f"{prefix}.conv_2.weight",
            *[f"{prefix}.bn{key}" for key in norm],
        ]

    def mixed_op(prefix: str, stride: int) -> list[str]:
        keys = [f"{prefix}._ops.{pool}.1{key}" for pool in (1, 2) for key in norm]
        keys += factorized(f"{prefix}._ops.3") if stride == 2 else []
        for number in (4, 5):
            keys += convolution(f"{prefix}._ops.{number}", 0, 4)
        for number in (6, 7):
            keys += convolution(f"{prefix}._ops.{number}", 0)
        return keys + ([f"{prefix}.ca.fc{i}.weight" for i in (1, 2)] if attention else [])

    keys = ["stem.0.weight", "stem.1.weight", "stem.1.bias", *[f"stem.1{key}" for key in norm]]
    keys += ["classifier.weight", "classifier.bias"]
    for layer in range(layers):
        cell = f"cells.{layer}"
        for name in ("preprocess0", "preprocess1"):
            prefix = f"{cell}.{name}"
            if name == "preprocess0" and layer - 1 in reductions:
                keys += factorized(prefix)
            else:
                keys += [f"{prefix}.op.1.weight", *[f"{prefix}.op.2{key}" for key in norm]]
        edge = 0
        for node in range(steps):
            for source in range(2 + node):
                stride = 2 if layer in reductions and source < 2 else 1
                keys += mixed_op(f"{cell}._ops.{edge}", stride)
                edge += 1
    return set(keys)


@pytest.mark.parametrize("method", METHODS)
def test_state_dict_keys_are_those_of_darts(method):
    network = SearchNetwork(**METHODS[method])
    own = ARCHITECTURE[:2] if method == "darts" else ARCHITECTURE
    keys = expected_keys(layers=8, steps=4, attention=method == "adarts")
    assert set(network.state_dict()) == keys | set(own)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes["stem.0.weight"] == (48, 3, 3, 3)
    assert shapes["cells.0.preprocess0.op.1.weight"] == (16, 48, 1, 1)
    channels = 16 if method == "darts" else 4
    assert shapes["cells.0._ops.0._ops.4.op.1.weight"] == (channels, 1, 3, 3)
    assert shapes["classifier.weight"] == (10, 256)


def test_a_state_dict_without_architecture_parameters_loads_and_leaves_them():
    source, target = small(), small()
    before = [tensor.detach().clone() for tensor in target.arch_parameters()]
    weights = {k: v for k, v in source.state_dict().items() if k not in ARCHITECTURE}
    target.load_state_dict(weights, strict=True)
    assert all(torch.equal(a, b) for a, b in zip(target.arch_parameters(), before, strict=True))
    with torch.no_grad():
        for a, b in zip(target.arch_parameters(), source.arch_parameters(), strict=True):
            a.copy_(b)
    x = images()
    assert torch.equal(target(x), source(x))


def test_a_state_dict_goes_through_a_file_and_into_the_same_tensors():
    source, target = small(), small()
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)
    tensors = target.arch_parameters()
    target.load_state_dict(torch.load(file, weights_only=True))
    for before, after, truth in zip(
        tensors, target.arch_parameters(), source.arch_parameters(), strict=True
    ):
        assert before is after
        assert torch.equal(after, truth)
        assert after.requires_grad
        assert after.is_leaf


def test_a_state_dict_is_saved_and_loaded_as_part_of_another_module():
    source = torch.nn.ModuleDict({"net": small()})
    target = torch.nn.ModuleDict({"net": small()})
    assert "net.betas_reduce" in source.state_dict()
    target.load_state_dict(source.state_dict())
    assert torch.equal(target["net"].betas_reduce, source["net"].betas_reduce)


def test_architecture_parameters_that_do_not_fit_are_refused():
    state = small().state_dict()
    with pytest.raises(RuntimeError, match=r"size mismatch for alphas_normal: got \(4, 8\)"):
        small().load_state_dict(state | {"alphas_normal": torch.zeros(4, 8)})
    with pytest.raises(RuntimeError, match=r"Unexpected key.*betas_normal"):
        small(edge_normalization=False).load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*gammas"):
        small().load_state_dict(state | {"gammas": torch.zeros(1)})


def test_architecture_parameters_are_leaves_apart_from_the_weights():
    network = SearchNetwork(init_channels=4, layers=3)
    tensors = network.arch_parameters()
    assert [tuple(t.shape) for t in tensors] == [(14, 8), (14, 8), (14,), (14,)]
    assert [id(t) for t in tensors] == [id(getattr(network, name)) for name in ARCHITECTURE]
    weights = {id(parameter) for parameter in network.parameters()}
    assert not weights & {id(t) for t in tensors}
    assert all(t.is_leaf and t.requires_grad for t in tensors)
    values = torch.cat([t.detach().flatten() for t in tensors])
    assert 0.8e-3 < values.std() < 1.2e-3
    assert small(edge_normalization=False).betas_normal is None
    assert len(small(edge_normalization=False).arch_parameters()) == 2


def test_conversion_keeps_architecture_parameters_and_their_gradients_in_place():
    network = SearchNetwork(init_channels=4, layers=3, steps=2)
    tensors = network.arch_parameters()
    network(torch.randn(2, 3, 16, 16)).sum().backward()
    network.double()
    assert all(a is b for a, b in zip(tensors, network.arch_parameters(), strict=True))
    assert all(t.dtype == t.grad.dtype == torch.float64 for t in tensors)
    assert all(t.is_leaf and t.requires_grad for t in tensors)
    network.zero_grad()
    network.requires_grad_(False)
    assert all(t.requires_grad for t in network.arch_parameters())


def test_a_network_goes_to_the_meta_device_and_comes_back():
    network, x = small().eval(), images()
    expected = network(x)
    state = network.state_dict()
    network.to("meta")
    tensors = network.arch_parameters()
    assert all(tensor.is_meta and tensor.is_leaf and tensor.requires_grad for tensor in tensors)
    network.to_empty(device="cpu")
    network.load_state_dict(state)
    assert all(tensor.requires_grad for tensor in network.arch_parameters())
    assert torch.equal(network(x), expected)


def test_a_copy_is_independent_and_computes_the_same():
    network = small()
    x = images()
    network(x).sum().backward()
    twin = copy.deepcopy(network).eval()
    network.eval()
    assert torch.equal(twin(x), network(x))
    with torch.no_grad():
        twin.alphas_normal.add_(torch.randn_like(twin.alphas_normal))
    assert not torch.equal(twin.alphas_normal, network.alphas_normal)
    assert not torch.allclose(twin(x), network(x))
