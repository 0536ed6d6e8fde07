"""How the processes of a run are joined, and parted again."""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from unittest import mock

import pytest
import torch
from several import start
from torch import distributed

from adarts_ext.runs import processes

pytestmark = pytest.mark.slow

KEEPS_THE_GROUP = "torch.distributed.nn.functional"  # if it is imported while there is one


def threads() -> set[str]:
    """The names of this process's threads, those of C++ too."""
    return {(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()}


def join_and_part(rank: int, folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    store = distributed.FileStore(str(folder / "store"), 2)
    join = partial(distributed.init_process_group, store=store, rank=rank, world_size=2)
    sys.modules.pop(KEEPS_THE_GROUP, None)  # as if no optimizer had imported it
    joining = mock.patch.object(distributed, "init_process_group", join)
    with joining, processes.joined(torch.device("cpu")):
        processes.agree(rank)
        during = threads()
        import_module(KEEPS_THE_GROUP)  # as torchvision does
    assert [name for name in during if "gloo" in name]
    assert not [name for name in threads() if "gloo" in name]


def test_no_thread_of_the_group_outlives_it(tmp_path):
    """A thread that is at work when Python ends aborts the process."""
    start(join_and_part, (tmp_path,), 2)
