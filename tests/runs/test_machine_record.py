from __future__ import annotations

import warnings

import pytest
import torch

from adarts_ext.files import read_json, write_json
from adarts_ext.runs.machine_record import save_machine_record, warn_of_other_machine

CPU = torch.device("cpu")


def test_the_same_machine_is_no_news(tmp_path):
    save_machine_record(tmp_path, CPU)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_other_machine(tmp_path, CPU)


def test_other_threads_are_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    save_machine_record(tmp_path, CPU)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    with pytest.warns(UserWarning, match="begun with threads 3, now 5: it will not") as caught:
        warn_of_other_machine(tmp_path, CPU)
    assert len(caught) == 1
    assert str(caught[0].message).startswith(f"{tmp_path}: ")
    assert "\n" not in str(caught[0].message)


@pytest.mark.parametrize("name", ["torch", "processes", "device", "threads", "CPU level"])
def test_all_else_that_rounds_otherwise_is_told_too(tmp_path, name):
    save_machine_record(tmp_path, CPU)
    path = tmp_path / "machine.json"
    write_json(path, read_json(path) | {name: "another"})
    with pytest.warns(UserWarning, match=f"begun with {name} another, now "):
        warn_of_other_machine(tmp_path, CPU)


def test_a_run_of_an_earlier_version_has_no_record(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_other_machine(tmp_path, CPU)


@pytest.mark.parametrize("content", ["[]", "{"])
def test_a_damaged_record_is_named(tmp_path, content):
    (tmp_path / "machine.json").write_text(content)
    with pytest.raises(ValueError, match=r"machine\.json: damaged"):
        warn_of_other_machine(tmp_path, CPU)
