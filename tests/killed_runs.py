"""Runs that are killed and gone on with until they end, and compared with one that was not.

For a process of its own, which has imported what all runs need, and forks each of them before torch
has begun a thread.
"""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from run_state import assert_same_run

from adarts_ext.data import ImageDataset
from adarts_ext.genotype import random_genotype
from adarts_ext.retrain import RetrainConfig, retrain
from adarts_ext.retrain import loop as retrain_loop
from adarts_ext.runs.checkpoint import load_newest
from adarts_ext.runs.folder import PREVIOUS_CHECKPOINT_FILE, holds_checkpoint
from adarts_ext.runs.options import RunConfig
from adarts_ext.search import SearchConfig, search
from adarts_ext.search import loop as search_loop

SMALL = {
    "device": "cpu",
    "init_channels": 4,
    "layers": 3,
    "batch_size": 8,
    "epochs": 3,
    "learning_rate": 0.1,
}
SAVE_EVERY = (0.0, 1e-9, 0.002)  # after each epoch, after each step, every 0.12 s

#: Where a run is killed, and up to which time it may have come there.
PLACES = {
    "at any time": None,
    "before a file is renamed": 6,
    "after a file was renamed": 6,
    "between the two files of a checkpoint": 2,
}


def make_images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise in two classes, dark and light."""
    labels = torch.arange(count) % 2
    noise = torch.randint(136, (count, 1, 16, 16)) + 120 * labels[:, None, None, None]
    return noise.to(torch.uint8), labels


def work(config: RunConfig, folder: Path) -> None:
    """Start the run of a folder, or go on with it."""
    torch.manual_seed(0)
    data = ImageDataset("noise", *make_images(64), *make_images(16), ("dark", "light"), flip=False)
    resume = holds_checkpoint(folder)
    if isinstance(config, SearchConfig):
        search(config, folder, resume, data)
    else:
        retrain(random_genotype(0, steps=1), config, folder, resume, data)


def fork(act: Callable[[], None]) -> int:
    """Let a process of its own do something; give its number."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            act()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return process


def was_killed(process: int) -> bool:
    """Wait for a process that ends well or is killed."""
    status = os.waitpid(process, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), code
    return code != 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(place: str, number: int) -> None:
    """Let this process die when it comes to a place for so many times."""
    name = "fsync" if place == "before a file is renamed" else "replace"
    real, come = getattr(os, name), 0

    def counted(*arguments):
        nonlocal come
        between = Path(str(arguments[-1])).name == PREVIOUS_CHECKPOINT_FILE
        come += between or "between" not in place
        if name == "fsync" and come == number:
            die()
        result = real(*arguments)
        if come == number:
            die()
        return result

    setattr(os, name, counted)


def kill(config: RunConfig, folder: Path, place: str, longest: float, draw: random.Random) -> bool:
    """Start or go on with a run, and kill it; give whether it was, and did not end before."""
    if place != "at any time":
        number = draw.randint(1, PLACES[place])

        def doomed() -> None:
            die_at(place, number)
            work(config, folder)

        return was_killed(fork(doomed))
    loop = search_loop if isinstance(config, SearchConfig) else retrain_loop
    reader, writer = os.pipe()

    def telling() -> None:
        real = loop.train_epoch

        def train_epoch(*arguments):
            os.write(writer, b"!")
            real(*arguments)

        loop.train_epoch = train_epoch
        work(config, folder)

    process = fork(telling)
    os.close(writer)
    os.read(reader, 1)  # that its steps begin, or that it has ended
    os.close(reader)
    time.sleep(draw.uniform(0, longest))
    os.kill(process, signal.SIGKILL)
    return was_killed(process)


def kill_and_compare(rank: int, kind: str, folder: Path, kills: int, seed: int) -> None:
    """Kill runs so many times; compare each that has come to its end."""
    warnings.simplefilter("error", UserWarning)  # no checkpoint is ever damaged
    draw = random.Random(seed)
    if kind == "search":
        small = {"steps": 1, "proportion": 2, "selection": "random", "warmup_epochs": 1, **SMALL}
        config: RunConfig = SearchConfig(**small)
    else:
        config = RetrainConfig(**SMALL)
    whole, started = folder / "whole", time.monotonic()
    assert not was_killed(fork(lambda: work(config, whole)))
    longest = (time.monotonic() - started) / 3
    places = (list(PLACES) * kills)[:kills]
    draw.shuffle(places)
    runs, seen = 0, Counter()
    for place in places:
        had = holds_checkpoint(folder / f"run-{runs}")
        while not kill(
            replace(config, save_every=draw.choice(SAVE_EVERY)),
            folder / f"run-{runs}",
            place,
            longest,
            draw,
        ):
            assert_same_run(folder / f"run-{runs}", whole)
            runs, had = runs + 1, False
        run = folder / f"run-{runs}"
        seen["within a file"] += bool(list(run.rglob(".*.tmp")))
        if had or holds_checkpoint(run):
            state, path = load_newest(run, kind)  # there is always a whole one
            seen["within an epoch"] += state["under_way"] is not None
            seen["between two files"] += path.name == PREVIOUS_CHECKPOINT_FILE
    assert not was_killed(fork(lambda: work(config, folder / f"run-{runs}")))
    assert_same_run(folder / f"run-{runs}", whole)
    assert seen["within a file"], seen
    assert seen["between two files"], seen
