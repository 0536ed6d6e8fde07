"""Several processes with a part each of a batch: the same channels, and statistics if wanted."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from emulator.build import build
from emulator.library import emulated
from several import start
from torch import distributed, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from adarts_ext.nn import SearchNetwork

BATCH = 8  # over all processes
NETWORKS = {
    "stored": {"steps": 2},
    "recomputed": {"steps": 2, "memory": "recompute"},
    "recomputed, one node": {"steps": 1, "memory": "recompute"},
    "operator by operator": {"steps": 2, "backend": "reference", "memory": "recompute"},
}


def network(sync_batch_norm: bool, **options) -> SearchNetwork:
    torch.manual_seed(0)
    return SearchNetwork(
        init_channels=4,
        layers=3,
        proportion=2,
        sync_batch_norm=sync_batch_norm,
        **options,
    ).double()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(BATCH, 3, 16, 16, generator=generator, dtype=torch.float64)
    return images, torch.arange(BATCH)


def results(net: SearchNetwork, module: nn.Module, images, labels) -> list[torch.Tensor]:
    """All gradients and running statistics, and then the logits in evaluation."""
    cross_entropy(module(images), labels).backward()
    found = [leaf.grad for leaf in (*net.arch_parameters(), *net.parameters())]
    found += [buffer.clone() for buffer in net.buffers()]
    with torch.no_grad():
        return [*found, module.eval()(images)]


def work(rank: int, count: int, folder: str, names: tuple[str, ...], emulate: bool) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", store, rank=rank, world_size=count)
    try:
        part = slice(rank * BATCH // count, (rank + 1) * BATCH // count)
        images, labels = (tensor[part] for tensor in batch())
        found = {}
        with emulated() if emulate else nullcontext():
            for name in names:
                net = network(True, **NETWORKS[name])
                fused = NETWORKS[name].get("backend") != "reference"
                assert all(cell.is_fused is fused for cell in net.cells)
                found[name] = results(net, DistributedDataParallel(net), images, labels)
        torch.save(found, f"{folder}/{rank}.pt")
    finally:
        distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "names", "emulate"),
    [
        (2, ("stored", "recomputed", "operator by operator"), False),
        (2, ("recomputed, one node",), True),
    ],
)
def test_processes_with_parts_of_a_batch_do_as_one_with_all_of_it(count, names, emulate, tmp_path):
    if emulate:
        build("adarts_emulated")
    start(work, (count, str(tmp_path), names, emulate), count)
    found = [torch.load(Path(tmp_path, f"{rank}.pt")) for rank in range(count)]
    for name in names:
        net = network(False, **NETWORKS[name])
        *expected, logits = results(net, net, *batch())
        for one in found:
            for got, exact in zip(one[name][:-1], expected, strict=True):
                torch.testing.assert_close(got, exact, rtol=1e-9, atol=1e-11)
        got = torch.cat([one[name][-1] for one in found])
        torch.testing.assert_close(got, logits, rtol=1e-9, atol=1e-11)
