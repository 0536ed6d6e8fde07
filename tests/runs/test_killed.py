"""What kill -9 leaves, at any moment, is gone on from as if nothing had been."""

from __future__ import annotations

import pytest
from conftest import seed_of_run
from killed_runs import kill_and_compare
from several import start


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "kills"), [("search", 30), ("retrain", 6)])
def test_a_run_that_is_killed_again_and_again_ends_as_the_whole_one(kind, kills, tmp_path):
    start(kill_and_compare, (kind, tmp_path, kills, seed_of_run()), 1)
