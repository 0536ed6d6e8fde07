"""The derived network: published sizes, names, its cells restated, auxiliary head, drop path."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from adarts_ext.genotype import ADARTS_V1, KNOWN, PC_DARTS, Genotype, random_genotype
from adarts_ext.nn import DerivedNetwork
from adarts_ext.nn.cell_shapes import CellShape
from adarts_ext.nn.derived import DerivedCell, PoolToTwo, drop_path


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ADARTS_V1", 2_897_902),
        ("ADARTS_V2", 3_394_486),
        ("PC_DARTS", 3_634_678),
        ("DARTS_V1", 3_169_414),
        ("DARTS_V2", 3_349_342),
    ],
)
def test_known_genotypes_have_their_published_size(name, parameters):
    assert count(DerivedNetwork(KNOWN[name], auxiliary=False)) == parameters
    with_head = count(DerivedNetwork(KNOWN[name]))
    assert with_head - parameters == 576 * 128 + 2 * 128 + 128 * 768 * 4 + 2 * 768 + 7690


def expected_keys(genotype: Genotype, layers: int) -> set[str]:
    """State dict keys in the naming of DARTS's CIFAR network."""
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    reductions = {layers // 3, 2 * layers // 3}

    def factorized(prefix: str) -> list[str]:
        return [f"{prefix}.conv_1.weight", f"{prefix}.conv_2.weight"] + [
            f"{prefix}.bn.{key}" for key in norm
        ]

    keys = ["stem.0.weight", *[f"stem.1.{key}" for key in norm]]
    keys += ["classifier.weight", "classifier.bias"]
    keys += [f"auxiliary_head.features.{number}.weight" for number in (2, 5)]
    keys += [f"auxiliary_head.features.{number}.{key}" for number in (3, 6) for key in norm]
    keys += ["auxiliary_head.classifier.weight", "auxiliary_head.classifier.bias"]
    for layer in range(layers):
        for name in ("preprocess0", "preprocess1"):
            prefix = f"cells.{layer}.{name}"
            if name == "preprocess0" and layer - 1 in reductions:
                keys += factorized(prefix)
            else:
                keys += [f"{prefix}.op.1.weight", *[f"{prefix}.op.2.{key}" for key in norm]]
        edges = genotype.reduce if layer in reductions else genotype.normal
        for number, (name, source) in enumerate(edges):
            prefix = f"cells.{layer}._ops.{number}"
            if name == "skip_connect" and layer in reductions and source < 2:
                keys += factorized(prefix)
            for group in {"sep": (0, 4), "dil": (0,)}.get(name[:3], ()):
                keys += [f"{prefix}.op.{group + i}.weight" for i in (1, 2)]
                keys += [f"{prefix}.op.{group + 3}.{key}" for key in norm]
    return set(keys)


@pytest.mark.parametrize("genotype", [*KNOWN.values(), random_genotype(0), random_genotype(1)])
def test_state_dict_keys_are_those_of_darts(genotype):
    network = DerivedNetwork(genotype, init_channels=4, layers=5)
    assert set(network.state_dict()) == expected_keys(genotype, 5)


@pytest.mark.parametrize("reduction", [False, True])
def test_a_node_sums_its_two_operations(reduction):
    genotype = Genotype(
        normal=(("sep_conv_3x3", 1), ("skip_connect", 0), ("max_pool_3x3", 2), ("none", 1)),
        normal_concat=(3,),
        reduce=(("avg_pool_3x3", 0), ("dil_conv_5x5", 1), ("skip_connect", 0), ("skip_connect", 2)),
        reduce_concat=(2, 3),
    )
    cell = DerivedCell(genotype, CellShape(6, 10, 4, reduction, False)).double()
    s0 = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    s1 = torch.randn(2, 10, 8, 8, dtype=torch.float64)
    x0, x1 = cell.preprocess0(s0), cell.preprocess1(s1)
    operations = list(cell._ops)
    if reduction:
        node2 = operations[0](x0) + operations[1](x1)
        node3 = operations[2](x0) + node2
        expected = torch.cat([node2, node3], 1)
    else:
        node2 = operations[0](x1) + x0
        expected = nn.functional.max_pool2d(node2, 3, 1, 1)
    assert cell.out_channels == expected.shape[1]
    torch.testing.assert_close(cell(s0, s1, 0.0), expected)


def test_derived_operations_have_affine_batchnorms_and_none_after_a_pooling():
    network = DerivedNetwork(PC_DARTS, init_channels=4, layers=3)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.affine for norm in norms)
    pools = [
        operation for operation in network.cells[1]._ops if isinstance(operation, nn.MaxPool2d)
    ]
    assert len(pools) == 1


def test_outputs_in_training_and_evaluation():
    x = torch.randn(2, 3, 16, 16)
    network = DerivedNetwork(ADARTS_V1, 4, 7, 3)
    logits, auxiliary_logits = network(x)
    assert logits.shape == auxiliary_logits.shape == (2, 7)
    assert network.eval()(x).shape == (2, 7)
    assert DerivedNetwork(ADARTS_V1, 4, 7, 3, auxiliary=False)(x).shape == (2, 7)


def test_every_weight_learns_from_both_outputs():
    network = DerivedNetwork(ADARTS_V1, 4, 7, 4)
    logits, auxiliary_logits = network(torch.randn(4, 3, 16, 16))
    (logits.square().sum() + auxiliary_logits.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_auxiliary_head_leaves_the_logits_alone():
    with_head = DerivedNetwork(ADARTS_V1, 4, 7, 4).double()
    without = DerivedNetwork(ADARTS_V1, 4, 7, 4, auxiliary=False).double()
    without.load_state_dict(
        {k: v for k, v in with_head.state_dict().items() if not k.startswith("auxiliary_head")}
    )
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    assert torch.equal(with_head(x)[0], without(x))


@pytest.mark.parametrize("size", range(2, 40))
def test_the_auxiliary_pool_gives_two_by_two(size):
    assert PoolToTwo()(torch.zeros(1, 1, size, 8)).shape == (1, 1, 2, 2)
    constant = torch.full((1, 1, size, size), 3.0)
    torch.testing.assert_close(PoolToTwo()(constant), torch.full((1, 1, 2, 2), 3.0))


def test_the_auxiliary_pool_is_that_of_darts_at_eight():
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(PoolToTwo()(x), nn.AvgPool2d(5, stride=3)(x))


@pytest.mark.parametrize("size", [(16, 16), (32, 20), (28, 28)])
def test_other_image_sizes_and_channels_are_taken(size):
    network = DerivedNetwork(ADARTS_V1, 4, 10, 3, in_channels=1)
    logits, auxiliary_logits = network(torch.randn(2, 1, *size))
    assert logits.shape == auxiliary_logits.shape == (2, 10)


def test_drop_path_zeroes_samples_and_keeps_the_expectation():
    x = torch.randn(4000, 2, 1, 1)
    y = drop_path(x, 0.25)
    dropped = (y == 0).all(1).flatten()
    torch.testing.assert_close(y[~dropped], x[~dropped] / 0.75)
    assert 0.2 < dropped.float().mean() < 0.3
    assert torch.equal(drop_path(x, 0.0), x)


def test_drop_path_is_compiled_once_for_all_probabilities():
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph

    compiled = torch.compile(drop_path, backend=count)
    x = torch.randn(400, 2, 1, 1)
    for probability in (0.5, 0.1, 0.2, 0.3):
        dropped = (compiled(x, probability) == 0).all(1).float().mean()
        assert abs(dropped - probability) < 0.15
    assert len(graphs) <= 2  # the first takes the probability for a constant


@pytest.mark.parametrize("probability", [-0.1, 1.0, float("nan")])
def test_drop_path_refuses_an_impossible_probability(probability):
    with pytest.raises(ValueError, match="at least 0 and less than 1"):
        drop_path(torch.zeros(1, 1, 1, 1), probability)


def test_drop_path_acts_in_training_only_and_never_on_an_identity():
    cell = (("skip_connect", 0), ("skip_connect", 1), ("sep_conv_3x3", 0), ("skip_connect", 2))
    identities = Genotype(cell[:2], (2,), (("skip_connect", 0), ("skip_connect", 1)), (2,))
    mixed = Genotype(cell, (2, 3), cell, (2, 3))
    x = torch.randn(8, 6, 8, 8)
    for genotype, reduction, changes in (
        (identities, False, False),
        (identities, True, True),  # at stride 2 it is a factorized reduction
        (mixed, False, True),
    ):
        derived = DerivedCell(genotype, CellShape(6, 6, 4, reduction, False))
        before = copy.deepcopy(derived)
        assert torch.equal(derived(x, x, 0.9), before(x, x, 0.0)) != changes
        assert torch.equal(derived.eval()(x, x, 0.9), derived(x, x, 0.0))


def test_drop_path_prob_is_an_attribute_that_starts_at_zero():
    network = DerivedNetwork(ADARTS_V1, 4, 10, 3, auxiliary=False)
    assert network.drop_path_prob == 0.0
    x = torch.randn(4, 3, 16, 16)
    first = network(x)
    assert torch.equal(first, network(x))
    network.drop_path_prob = 0.5
    assert not torch.equal(first, network(x))


def test_networks_of_one_or_two_cells_have_reduction_cells_only():
    for layers in (1, 2):
        network = DerivedNetwork(ADARTS_V1, 4, 10, layers)
        assert network.auxiliary_position == layers - 1
        logits, auxiliary_logits = network(torch.randn(2, 3, 16, 16))
        assert logits.shape == auxiliary_logits.shape == (2, 10)


@pytest.mark.parametrize("name", ["init_channels", "num_classes", "layers", "in_channels"])
def test_impossible_arguments_are_refused(name):
    with pytest.raises(ValueError, match=f"DerivedNetwork: {name} must be at least 1, got 0"):
        DerivedNetwork(ADARTS_V1, **{name: 0})


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(2, 3, 18, 16), ValueError, r"multiples of 4 .* got shape \(2, 3, 18, 16\)"),
        (torch.zeros(2, 1, 16, 16), ValueError, r"expected \(N, 3, H, W\)"),
        (torch.zeros(2, 3, 16, 16).long(), TypeError, r"floating-point images, got torch.int64"),
    ],
)
def test_images_that_do_not_fit_are_refused(x, error, message):
    with pytest.raises(error, match=f"DerivedNetwork: .*{message}"):
        DerivedNetwork(ADARTS_V1, 4, 10, 3)(x)


def test_it_runs_under_autocast_and_its_state_dict_loads_into_a_copy():
    network = DerivedNetwork(ADARTS_V1, 4, 10, 3)
    x = torch.randn(2, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        logits, auxiliary_logits = network(x)
    (logits.float().sum() + auxiliary_logits.float().sum()).backward()
    twin = DerivedNetwork(ADARTS_V1, 4, 10, 3)
    twin.load_state_dict(network.state_dict())
    assert torch.equal(twin.eval()(x), copy.deepcopy(network).eval()(x))
    assert "auxiliary=True" in repr(network)
    assert "skip_connect" in repr(network)
