"""How compute-sanitizer is run; one that is planted stands in for it."""

from __future__ import annotations

import os

import pytest
import sanitize

FAKE = """\
#!/bin/sh
echo "$@"
case $* in
  *racecheck*) exit 1;;
  *synccheck*) echo 'one PASSED'; sleep 60;;
esac
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    path = tmp_path / "cuda" / "bin" / "compute-sanitizer"
    path.parent.mkdir(parents=True)
    path.write_text(FAKE)
    path.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    monkeypatch.setenv("PATH", os.defpath)


@pytest.mark.usefixtures("planted")
def test_every_tool_has_its_verdict_and_its_log(tmp_path, capsys):
    assert sanitize.main(["--out", str(tmp_path / "out"), "--seconds", "0.5"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "memcheck: clean",
        "racecheck: FAILED with status 1, see racecheck.log",
        "synccheck: not done in 0.5 s; 1 tests had passed, see synccheck.log",
        "initcheck: clean",
    ]
    text = (tmp_path / "out" / "memcheck.log").read_text()
    assert "--kernel-regex kns=adarts" in text
    assert "--device cuda" in text
    assert "kns" not in (tmp_path / "out" / "initcheck.log").read_text()
    assert sanitize.main(["--out", str(tmp_path / "out"), "--tools", "memcheck"]) == 0


def test_where_there_is_none_that_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sanitize, "find", lambda: None)
    assert sanitize.main(["--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "compute-sanitizer is not installed here: skipped\n"
