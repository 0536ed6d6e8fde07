"""Whole runs whose passes are CUDA graphs, played on the CPU: the same bits as without."""

from __future__ import annotations

import warnings

import pytest
import torch
from replay import graphs_on_the_cpu
from run_state import assert_same_run
from small_runs import TWO_NODES

from adarts_ext import cuda_graph
from adarts_ext.data import ImageDataset
from adarts_ext.retrain import RetrainConfig, retrain
from adarts_ext.search import SearchConfig, search

COMMON = {"device": "cpu", "init_channels": 4, "layers": 3, "batch_size": 4, "epochs": 2}
SEARCH = {**COMMON, "steps": 2, "proportion": 2, "warmup_epochs": 1}
RUNS = {
    "search": SearchConfig(**SEARCH),
    "search, random": SearchConfig(**SEARCH, selection="random"),
    "search, bf16": SearchConfig(**SEARCH, precision="bf16"),
    "retrain": RetrainConfig(**COMMON),
    "retrain, averaged": RetrainConfig(**COMMON, ema_decay=0.9, label_smoothing=0.1),
}


@pytest.fixture(scope="module")
def data():
    """In an epoch of a search three steps, in one of a training six, and a short last batch."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (32, 1, 16, 16), generator=generator).to(torch.uint8)
    labels = torch.arange(32) % 2
    return ImageDataset(
        "tiny", images[:26], labels[:26], images[26:], labels[26:], ("a", "b"), flip=False
    )


def run(config, folder, data):
    if isinstance(config, SearchConfig):
        return search(config, folder, dataset=data)
    return retrain(TWO_NODES, config, folder, dataset=data)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_graphs_ends_with_the_same_bits(name, data, tmp_path, monkeypatch):
    monkeypatch.setattr(cuda_graph, "WARM_UP", 1)
    run(RUNS[name], tmp_path / "plain", data)
    with graphs_on_the_cpu() as captured, warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*kernel by kernel.*")
        run(RUNS[name], tmp_path / "graphs", data)
    assert captured
    assert_same_run(tmp_path / "graphs", tmp_path / "plain")
