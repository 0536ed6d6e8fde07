from __future__ import annotations

import errno
import os

import pytest
import torch

from adarts_ext import files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_write_atomic_replaces_the_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old and longer")
    files.write_atomic(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.txt"]


def test_written_file_has_the_mode_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    files.write_atomic(tmp_path / "atomic", lambda file: file.write(b""))
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [RuntimeError("half way"), KeyboardInterrupt()])
def test_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"half of the n")
        raise error

    with pytest.raises(type(error)):
        files.write_atomic(path, write)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]


def test_full_disk_gives_one_line_that_names_the_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left on device") as caught:
        files.write_atomic(path, write)
    assert caught.value.errno == errno.ENOSPC
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]


def test_full_disk_while_flushing_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    files.save_checkpoint(path, {"kind": "search", "epoch": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        files.save_checkpoint(path, {"kind": "search", "epoch": 2})
    assert files.load_checkpoint(path)["epoch"] == 1
    assert names(tmp_path) == ["checkpoint.pt"]


def test_missing_folder_is_named_by_the_file_asked_for(tmp_path):
    path = tmp_path / "absent" / "a.json"
    with pytest.raises(FileNotFoundError) as caught:
        files.write_json(path, {})
    assert caught.value.filename == str(path)


def test_json_round_trip(tmp_path):
    value = {"a": [1, 2.5, None, True], "b": {"c": "é"}}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize("content", [b'{"a": 1', b"", b"\xff\xfe\x00", b"[" * 100_000])
def test_damaged_json_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged, or not JSON") as caught:
        files.read_json(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    files.write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "a.json", {"tensor": torch.zeros(1)})
    assert files.read_json(tmp_path / "a.json") == 1
    assert names(tmp_path) == ["a.json"]


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    state = {"kind": "retrain", "weight": torch.arange(1000.0), "history": [{"epoch": 1}]}
    files.save_checkpoint(path, state)
    return path


def test_checkpoint_round_trip(checkpoint):
    state = files.load_checkpoint(checkpoint, "retrain")
    assert torch.equal(state["weight"], torch.arange(1000.0))
    assert state["history"] == [{"epoch": 1}]


def test_checkpoint_of_another_kind(checkpoint):
    with pytest.raises(ValueError, match="expected a checkpoint of a search, got one of a retrain"):
        files.load_checkpoint(checkpoint, "search")


def test_checkpoint_needs_a_kind(tmp_path):
    with pytest.raises(ValueError, match="needs the entry 'kind'"):
        files.save_checkpoint(tmp_path / "checkpoint.pt", {"epoch": 1})


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
        files.load_checkpoint(checkpoint)
    assert str(caught.value).startswith(str(checkpoint))
    assert "\n" not in str(caught.value)


def test_checkpoint_runs_no_code(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"kind": "search", "object": Harmful()}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="not a checkpoint"):
        files.load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "made").exists()


def test_something_else_saved_by_torch(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="not a checkpoint of adarts_ext"):
        files.load_checkpoint(tmp_path / "checkpoint.pt")


def test_missing_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.load_checkpoint(tmp_path / "checkpoint.pt")


def test_run_folder_is_made_with_its_parents(tmp_path):
    folder = files.open_run_folder(tmp_path / "a" / "b", resume=False)
    assert folder.is_dir()


@pytest.mark.parametrize("name", ["checkpoint.pt", "result.json"])
def test_run_folder_in_use(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"already holds a run.*--resume"):
        files.open_run_folder(tmp_path, resume=False)


def test_run_that_never_saved_a_checkpoint_can_start_again(tmp_path):
    files.write_json(tmp_path / "config.json", {"kind": "search"})
    assert files.open_run_folder(tmp_path, resume=False) == tmp_path


def test_nothing_to_resume(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint\.pt to resume"):
        files.open_run_folder(tmp_path / "absent", resume=True)
    assert not (tmp_path / "absent").exists()


def test_run_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        files.open_run_folder(tmp_path / "file", resume=False)


def test_run_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="cannot be written to"):
        files.open_run_folder(tmp_path, resume=False)
