"""What kill -9 leaves, at any moment, is gone on from as if nothing had been."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import seed_of_run


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "kills"), [("search", 30), ("retrain", 6)])
def test_a_run_that_is_killed_again_and_again_ends_as_the_whole_one(kind, kills, tmp_path):
    command = [sys.executable, "-m", "killed_runs", kind, str(tmp_path), str(kills)]
    done = subprocess.run(
        [*command, str(seed_of_run())],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    assert f"{kills} kills" in done.stdout
