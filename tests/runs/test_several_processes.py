"""Runs of several processes: the same as one process's, and all of them stop and go on together."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
import torch
from image_folder import write_images
from run_state import assert_same_run
from several import start
from small_runs import TWO_NODES
from torch import distributed

from adarts_ext.files import read_json
from adarts_ext.nn import SearchNetwork
from adarts_ext.nn.processes import one_batch
from adarts_ext.retrain import RetrainConfig, retrain
from adarts_ext.retrain import build as retrain_build
from adarts_ext.retrain import loop as retrain_loop
from adarts_ext.runs import processes
from adarts_ext.runs.checkpoint import load_checkpoint
from adarts_ext.runs.data import run_data
from adarts_ext.runs.device import resolve_device
from adarts_ext.runs.options import RunConfig
from adarts_ext.search import SearchConfig, build, passes, search
from adarts_ext.search.step import (
    architecture_step,
    first_order_gradient,
    second_order_gradient,
    weight_step,
)

COMMON = {
    "dataset": "folder",
    "device": "cpu",
    "init_channels": 4,
    "layers": 3,
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 0.05,
    "save_every": 0.0,
}
CELLS = {"steps": 1, "proportion": 2, "warmup_epochs": 1}
SEARCH = SearchConfig(**COMMON, **CELLS, arch_learning_rate=0.01, hessian_every=2)
RETRAIN = RetrainConfig(**COMMON)
STEPS = {"search": 2, "retrain": 4}  # of an epoch; runs are broken off in the second of the second
KINDS = pytest.mark.parametrize("config", [SEARCH, RETRAIN], ids=["search", "retrain"])
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """An image folder of 34 + 10 small images; the last batch of a search's evaluation has one."""
    return str(write_images(tmp_path_factory.mktemp("images"), 17, 5, channels=3))


def run(config: RunConfig, folder: Path, resume: bool = False):
    if isinstance(config, SearchConfig):
        return search(config, folder, resume)
    return retrain(TWO_NODES, config, folder, resume)


@contextmanager
def in_step(config: RunConfig, number: int, act: Callable[[], None]) -> Iterator[None]:
    """Let ``act`` run within a step of a run."""
    search_step: tuple[ModuleType, str] = (passes, "weight_step")
    module, name = search_step if config.kind == "search" else (retrain_loop, "train_step")
    calls, real = [], getattr(module, name)

    def acting(*arguments):
        calls.append(None)
        if len(calls) == number:
            act()
        return real(*arguments)

    with mock.patch.object(module, name, acting):
        yield


def join(rank: int, count: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", store, rank=rank, world_size=count)


def whole_stopped_and_resumed(rank: int, folder: Path, config: RunConfig) -> None:
    join(rank, 2, folder)
    synchronised = run(replace(config, sync_batch_norm=True), folder / "synchronised")
    (folder / f"genotype-{rank}").write_text(str(synchronised.genotype))
    run(config, folder / "whole")
    stop = (lambda: os.kill(os.getpid(), signal.SIGTERM)) if rank == 1 else (lambda: None)
    try:
        with in_step(config, STEPS[config.kind] + 2, stop):
            run(config, folder / "resumed")
    except SystemExit as error:
        (folder / f"status-{rank}").write_text(str(error.code))
    if rank == 0:
        checkpoint = load_checkpoint(folder / "resumed" / "checkpoint.pt")
        (folder / "steps").write_text(str(checkpoint["under_way"]["step"]))
    run(config, folder / "resumed", resume=True)
    distributed.destroy_process_group()


@KINDS
def test_two_processes_make_one_run(config, data_dir, tmp_path):
    config = replace(config, data_dir=data_dir)
    start(whole_stopped_and_resumed, (tmp_path, config), 2)

    assert [(tmp_path / f"status-{rank}").read_text() for rank in (0, 1)] == ["143", "143"]
    assert (tmp_path / "steps").read_text() == "2"
    assert_same_run(tmp_path / "resumed", tmp_path / "whole")

    run(replace(config, sync_batch_norm=True), tmp_path / "alone")
    assert (tmp_path / "genotype-0").read_text() == (tmp_path / "genotype-1").read_text()
    alone, synchronised, local = (tmp_path / name for name in ("alone", "synchronised", "whole"))
    assert files(synchronised) == files(alone)
    histories = [read_json(folder / "history.json") for folder in (synchronised, alone)]
    for ours, theirs in zip(*histories, strict=True):
        for name in ("train_loss", "train_accuracy", f"{evaluation_of(config)}_accuracy"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3)
    if config.kind == "search":
        eigenvalues = [history[-1]["hessian_eigenvalue"] for history in histories]
        assert eigenvalues[0] == pytest.approx(eigenvalues[1], rel=0.05)
    assert distance(synchronised, alone) < 0.05 * distance(local, alone)


def evaluation_of(config: RunConfig) -> str:
    return "validation" if config.kind == "search" else "test"


def files(folder: Path) -> set[str]:
    """The files of a run; those of TensorBoard have the time in their names."""
    return {path.name for path in folder.rglob("*") if "tfevents" not in path.name}


def distance(ours: Path, theirs: Path) -> float:
    """How far the weights, alphas and betas of two runs are apart."""
    states = [load_checkpoint(path / "checkpoint.pt")["network"] for path in (ours, theirs)]
    squares = [
        (states[0][name] - states[1][name]).square().sum()
        for name in states[0]
        if "running" not in name and "num_batches" not in name
    ]
    return sum(squares).sqrt().item()


def rank_1_dies(rank: int, folder: Path, config: RunConfig) -> None:
    join(rank, 2, folder)
    die = (lambda: os.kill(os.getpid(), signal.SIGKILL)) if rank == 1 else (lambda: None)
    try:
        with in_step(config, STEPS[config.kind] + 2, die):
            run(config, folder / "run")
    except ConnectionError as error:
        (folder / "error").write_text(str(error))


def test_a_process_that_dies_ends_the_others_and_leaves_the_last_checkpoint(data_dir, tmp_path):
    config = replace(SEARCH, data_dir=data_dir)
    context = start(rank_1_dies, (tmp_path, config), 2, join=False)
    for process in context.processes:
        process.join(timeout=300)
    assert [process.exitcode for process in context.processes] == [0, -signal.SIGKILL]
    assert "another process of the run has ended" in (tmp_path / "error").read_text()
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert len(checkpoint["history"]) == 1
    with pytest.warns(UserWarning, match="begun with processes 2, now 1"):
        assert run(config, tmp_path / "run", resume=True).epochs == config.epochs


def searched(part: slice) -> dict[str, Any]:
    """Make some steps of both orders in float64 on a part of every batch."""
    torch.manual_seed(0)
    options = {"init_channels": 4, "layers": 3, "proportion": 2, "steps": 1}
    network = SearchNetwork(**options, sync_batch_norm=True).double().train()
    weights = torch.optim.SGD(network.flat_parameters(), lr=0.05, momentum=0.9)
    arch = torch.optim.Adam(network.arch_parameters(), lr=0.01)
    for order in (first_order_gradient, second_order_gradient, first_order_gradient):
        train, validation = (
            (torch.randn(8, 3, 16, 16, dtype=torch.float64)[part], torch.arange(8)[part])
            for _ in range(2)
        )
        batches = [validation] if order is first_order_gradient else [train, validation]
        _, gradient = order(network, weights, *batches)
        architecture_step(arch, network.arch_parameters(), gradient)
        weight_step(network, weights, train, grad_clip=1.0)
    return network.state_dict() | {"genotype": str(network.genotype())}


def search_in_processes(rank: int, folder: Path) -> None:
    join(rank, 4, folder)
    with one_batch(distributed.group.WORLD):
        torch.save(searched(slice(2 * rank, 2 * rank + 2)), folder / f"{rank}.pt")


def test_steps_on_parts_of_a_batch_are_those_on_all_of_it(tmp_path):
    start(search_in_processes, (tmp_path,), 4)
    expected = searched(slice(None))
    for rank in range(4):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.pop("genotype") == expected["genotype"]
        for name, tensor in found.items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-8)


@KINDS
def test_a_batch_that_cannot_be_shared_out_evenly_is_refused(config, data_dir, monkeypatch):
    config = replace(config, data_dir=data_dir)
    make = build.make_loaders if config.kind == "search" else retrain_build.make_train_loader
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="batch_size: expected a multiple of the run's 3 proc"):
        make(config, run_data(config, None), torch.device("cpu"))


@pytest.mark.parametrize(
    ("environment", "name", "words"),
    [
        ({"LOCAL_RANK": "2"}, "cuda", "found 2 for process 3"),
        ({"LOCAL_RANK": "0"}, "cuda:1", "take a CUDA device each, got cuda:1"),
    ],
)
def test_a_process_without_a_device_of_its_own(environment, name, words, monkeypatch):
    for variable, value in ({"WORLD_SIZE": "4", "RANK": "2"} | environment).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=words):
        resolve_device(name)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve_device("auto") == torch.device("cuda:1")


def tell_of_parting(rank: int, folder: Path) -> None:
    join(rank, 2, folder)
    processes.check_same([torch.ones(3)], "alphas and betas")
    with pytest.raises(ValueError, match=r"alphas and betas are no longer .* process 1 has others"):
        processes.check_same([torch.ones(3) + rank * 1e-7], "alphas and betas")
    with pytest.raises(ValueError, match="of the first"):
        processes.from_first(lambda: int("of the first"))


def test_processes_that_part_are_an_error_in_all(tmp_path):
    start(tell_of_parting, (tmp_path,), 2)
