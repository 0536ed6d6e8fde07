from __future__ import annotations

import pytest
import torch

from adarts_ext.runs.device import resolve_device


def test_auto_is_a_device_that_is_there():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto").type == expected


@pytest.mark.parametrize("name", ["gpu", "", "meta", "cpu0", "cuda:x"])
def test_unknown_device(name):
    with pytest.raises(
        ValueError, match="expected auto, cpu, cuda or cuda:<number>, got"
    ) as caught:
        resolve_device(name)
    assert "\n" not in str(caught.value)


def test_cuda_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="cuda was asked for, but torch finds no CUDA device"):
        resolve_device("cuda")


def test_cuda_device_beyond_the_last(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("cuda:0") == torch.device("cuda", 0)
    with pytest.raises(ValueError, match="cuda:1 was asked for, but torch finds 1 CUDA device"):
        resolve_device("cuda:1")
