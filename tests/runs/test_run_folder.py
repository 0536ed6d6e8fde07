from __future__ import annotations

import os

import pytest
from several import start

from adarts_ext.cli.runs import default_folder
from adarts_ext.files import write_json
from adarts_ext.runs.folder import open_run_folder, sole_run


def test_run_folder_is_made_with_its_parents(tmp_path):
    folder = open_run_folder(tmp_path / "a" / "b", resume=False)
    assert folder.is_dir()


@pytest.mark.parametrize("name", ["checkpoint.pt", "result.json"])
def test_run_folder_in_use(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"already holds a run.*resume=True"):
        open_run_folder(tmp_path, resume=False)


def test_run_that_never_saved_a_checkpoint_can_start_again(tmp_path):
    write_json(tmp_path / "config.json", {"kind": "search"})
    assert open_run_folder(tmp_path, resume=False) == tmp_path


def test_nothing_to_resume(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint\.pt to resume"):
        open_run_folder(tmp_path / "absent", resume=True)
    assert not (tmp_path / "absent").exists()


def test_run_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        open_run_folder(tmp_path / "file", resume=False)


def test_run_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="cannot be written to"):
        open_run_folder(tmp_path, resume=False)


def refused(rank, folder):
    with (
        pytest.raises(ValueError, match="another run is at work in this folder"),
        sole_run(folder),
    ):
        pass


def test_two_runs_do_not_work_in_one_folder(tmp_path):
    with sole_run(tmp_path):
        refused(0, tmp_path)
        start(refused, (tmp_path,), 1)  # in another process
    with sole_run(tmp_path):
        assert not list(tmp_path.iterdir())


def test_a_run_removes_what_a_killed_one_left(tmp_path):
    left = [tmp_path / ".history.json.0123abcd.tmp"]
    left.append(tmp_path / "genotypes" / ".epoch-0002.json.89abcdef.tmp")
    left[1].parent.mkdir()
    for path in left:
        path.touch()
    with sole_run(tmp_path):
        assert not any(path.exists() for path in left)
        left[0].touch()  # what a run is writing now
        with pytest.raises(ValueError, match="another run is at work"), sole_run(tmp_path):
            pass
        assert left[0].exists()


def test_runs_that_start_in_one_second_have_folders_of_their_own():
    assert len({default_folder("search", "digits") for _ in range(3)}) == 3
