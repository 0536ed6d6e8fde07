from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from adarts_ext.runs.checkpoint import (
    RunState,
    load_checkpoint,
    rng_state,
    save_checkpoint,
    set_rng_state,
)


def test_full_disk_while_flushing_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"kind": "search", "epoch": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        save_checkpoint(path, {"kind": "search", "epoch": 2})
    assert load_checkpoint(path)["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    state = {"kind": "retrain", "weight": torch.arange(1000.0), "history": [{"epoch": 1}]}
    save_checkpoint(path, state)
    return path


def test_checkpoint_round_trip(checkpoint):
    state = load_checkpoint(checkpoint, "retrain")
    assert torch.equal(state["weight"], torch.arange(1000.0))
    assert state["history"] == [{"epoch": 1}]


def test_checkpoint_of_another_kind(checkpoint):
    with pytest.raises(ValueError, match="expected a checkpoint of a search, got one of a retrain"):
        load_checkpoint(checkpoint, "search")


def test_checkpoint_needs_a_kind(tmp_path):
    with pytest.raises(ValueError, match="needs the entry 'kind'"):
        save_checkpoint(tmp_path / "checkpoint.pt", {"epoch": 1})


def damage_nothing_but_a_weight(content):
    place = content.index(torch.arange(1000.0).numpy().tobytes()) + 400
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"",
        lambda content: b"not a checkpoint",
        damage_nothing_but_a_weight,
    ],
    ids=["half", "one byte short", "empty", "text", "one bit"],
)
def test_damaged_checkpoint_is_named(checkpoint, damage):
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(ValueError, match="damaged, or not a checkpoint") as caught:
        load_checkpoint(checkpoint)
    assert str(caught.value).startswith(str(checkpoint))
    assert "\n" not in str(caught.value)


def test_checkpoint_runs_no_code(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"kind": "search", "object": Harmful()}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "made").exists()


def test_something_else_saved_by_torch(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="not a checkpoint of adarts_ext"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_missing_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "checkpoint.pt")


@dataclass(frozen=True)
class Layers(RunState):
    """A run that changes two layers."""

    kind: ClassVar[str] = "search"

    first: nn.Linear
    second: nn.Linear


def make_layers():
    return Layers(nn.Linear(2, 3), nn.Linear(3, 2))


def test_a_state_is_put_back_with_the_generators(tmp_path):
    saved, other = make_layers(), make_layers()
    saved.save(tmp_path, [{"epoch": 1}])
    expected = torch.rand(3)
    assert other.load(tmp_path) == ([{"epoch": 1}], None)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(other.first.weight, saved.first.weight)
    assert torch.equal(other.second.bias, saved.second.bias)


def test_a_checkpoint_of_an_earlier_version_may_hold_more(tmp_path):
    saved, other = make_layers(), make_layers()
    saved.save(tmp_path, [])
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    del state["under_way"]  # and less
    save_checkpoint(tmp_path / "checkpoint.pt", state | {"scheduler": {"last_epoch": 0}})
    assert other.load(tmp_path) == ([], None)
    assert torch.equal(other.first.weight, saved.first.weight)


@pytest.mark.parametrize("changes", [{"first": nn.Linear(9, 9).state_dict()}, {"second": None}])
def test_a_checkpoint_that_does_not_fit_is_named(tmp_path, changes):
    make_layers().save(tmp_path, [])
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    save_checkpoint(tmp_path / "checkpoint.pt", state | changes)
    with pytest.raises(ValueError, match=r"checkpoint\.pt: does not fit the options") as caught:
        make_layers().load(tmp_path)
    assert "\n" not in str(caught.value)


OUT_OF_MEMORY = [
    MemoryError("Unable to allocate"),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_out_of_memory_is_not_taken_for_damage(checkpoint, tmp_path, monkeypatch, error):
    def fail(*arguments, **keywords):
        raise error

    layers = make_layers()
    layers.save(tmp_path, [])
    with monkeypatch.context() as patch:
        patch.setattr(layers.second, "load_state_dict", fail)
        with pytest.raises(type(error)) as caught:
            layers.load(tmp_path)
        assert caught.value is error
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(type(error)) as caught:
        load_checkpoint(checkpoint)
    assert caught.value is error


def test_rng_state_from_a_machine_with_other_devices():
    state = rng_state() | {"cuda": [torch.zeros(16, dtype=torch.uint8)] * 9}
    expected = torch.rand(2)
    set_rng_state(state)
    assert torch.equal(torch.rand(2), expected)
