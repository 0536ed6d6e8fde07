"""Several processes that train one supernet: alphas and betas must not part."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from several import start
from torch import distributed
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from adarts_ext.nn import SearchNetwork

pytestmark = pytest.mark.slow

BATCH = 8  # over all processes


def network(**options) -> SearchNetwork:
    torch.manual_seed(0)
    return SearchNetwork(
        init_channels=4, layers=3, proportion=2, steps=2, selection="first", **options
    ).double()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(BATCH, 3, 16, 16, generator=generator, dtype=torch.float64)
    return images, torch.arange(BATCH)


def gradients(module, net: SearchNetwork, images, labels, given: bool) -> list[torch.Tensor]:
    """Gradients of alphas, betas and weights, with the statistics of BatchNorm as they are."""
    module.eval()  # those of the batch would be another batch's in each process
    logits = module(images, net.operation_weights()) if given else module(images)
    cross_entropy(logits, labels).backward()
    return [leaf.grad for leaf in (*net.arch_parameters(), *net.parameters())]


def trained(net: SearchNetwork, module, images, labels) -> list[torch.Tensor]:
    """Alphas and betas after some steps in training."""
    module.train()
    optimizer = torch.optim.Adam([*net.arch_parameters(), *net.parameters()], lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        cross_entropy(module(images), labels).backward()
        optimizer.step()
    return [tensor.detach() for tensor in net.arch_parameters()]


def work(rank: int, count: int, folder: str, options: dict, given: bool) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", store, rank=rank, world_size=count)
    try:
        net = network(**options)
        module = DistributedDataParallel(net)
        part = slice(rank * BATCH // count, (rank + 1) * BATCH // count)
        images, labels = (tensor[part] for tensor in batch())
        found = gradients(module, net, images, labels, given)
        arch = trained(net, module, images, labels)
        torch.save({"gradients": found, "arch": arch}, f"{folder}/{rank}.pt")
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("count", "options", "given"),
    [(2, {"edge_normalization": False}, False), (2, {}, True), (4, {}, False)],
)
def test_processes_agree_with_one_that_has_the_whole_batch(count, options, given, tmp_path):
    """Also where the weights of the operations are given, made outside of alphas."""
    start(work, (count, str(tmp_path), options, given), count)
    found = [torch.load(Path(tmp_path, f"{rank}.pt")) for rank in range(count)]
    net = network(**options)
    expected = gradients(net, net, *batch(), given=False)
    for one in found:
        for got, exact in zip(one["gradients"], expected, strict=True):
            torch.testing.assert_close(got, exact, rtol=1e-10, atol=1e-12)
        for mine, first in zip(one["arch"], found[0]["arch"], strict=True):
            assert torch.equal(mine, first)
    fresh = copy.deepcopy(network(**options)).arch_parameters()
    assert not any(torch.equal(a, b) for a, b in zip(found[0]["arch"], fresh, strict=True))
