from __future__ import annotations

import errno
import os
import subprocess
import sys

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


@pytest.mark.slow
def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    program = (
        "import os, signal, sys; from adarts_ext.files import write_atomic\n"
        "write_atomic(sys.argv[1], lambda file: os.kill(os.getpid(), signal.SIGKILL))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.json")], check=False)
    (left,) = names(tmp_path)
    others = [".a.json.tmp", ".a.json.0123abc.tmp", "a.json.0123abcd.tmp", ".a.0123abcd.tmp~"]
    for name in others:
        (tmp_path / name).touch()
    files.remove_leftovers(tmp_path)
    assert left.startswith(".a.json.")
    assert names(tmp_path) == sorted(others)


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


def test_what_a_file_held_is_kept_where_it_is_asked_for(tmp_path):
    path, previous = tmp_path / "a.txt", tmp_path / "a.previous.txt"
    for content in (b"1", b"2", b"3"):
        files.write_atomic(path, lambda file, content=content: file.write(content), previous)
    assert (path.read_bytes(), previous.read_bytes()) == (b"3", b"2")

    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left on device"):
        files.write_atomic(path, full, previous)
    assert (path.read_bytes(), previous.read_bytes()) == (b"3", b"2")
    assert names(tmp_path) == ["a.previous.txt", "a.txt"]
