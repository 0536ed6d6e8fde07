"""Batches of images that are not kept on the device: the same ones, read by workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from multiprocessing import resource_sharer

import pytest
import torch
from test_folder import load, write_image
from test_loader import CUTOUT, assert_same_batches, make_images, make_loader, take

from adarts_ext.data import dataset as dataset_module
from adarts_ext.data import folder as folder_module
from adarts_ext.data import load_dataset
from adarts_ext.data.image_files import ImagesInFiles
from adarts_ext.data.stored import ImagesInMemory, StoredImages


def stored_loader(workers=1, **options):
    return make_loader(ImagesInMemory.of(make_images(), workers), cutout=CUTOUT, **options)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"augment": False, "shuffle": False, "drop_last": False}])
def test_the_batches_are_those_of_images_on_the_device(workers, options):
    before = torch.get_rng_state()
    ours = take(stored_loader(workers, **options), 15)
    assert_same_batches(ours, take(make_loader(cutout=CUTOUT, **options), 15))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_share_of_each_batch_is_read():
    for options in ({"share": (1, 2)}, {"share": (3, 4), "drop_last": False}):
        ours, theirs = stored_loader(1, **options), make_loader(cutout=CUTOUT, **options)
        assert_same_batches(take(ours, 9), take(theirs, 9))


@pytest.mark.parametrize("taken", [0, 1, 5, 6, 7])
def test_what_was_read_ahead_does_not_count_for_a_restored_loader(taken):
    loader = stored_loader(2)
    take(loader, taken)
    restored = stored_loader(2, seed=99)
    take(restored, 2)  # it has read ahead for batches that do not come now
    restored.load_state_dict(loader.state_dict())
    expected = make_loader(cutout=CUTOUT)
    take(expected, taken)
    assert_same_batches(take(restored, 8), take(expected, 8))


def test_workers_end_with_the_epoch_and_with_the_loader():
    loader = stored_loader(2)
    take(loader, len(loader))
    assert multiprocessing.active_children() == []
    take(loader, 1)
    assert len(multiprocessing.active_children()) == 2
    del loader
    assert multiprocessing.active_children() == []


def test_signals_that_stop_a_run_do_not_stop_its_workers():
    loader = stored_loader(2)
    ours = take(loader, 1)
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGINT)
        # From elsewhere, as when a cluster stops all processes of a job.
        subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)
    ours += take(loader, len(loader) - 1)
    assert_same_batches(ours, list(make_loader(cutout=CUTOUT)))


PROGRAM = """
import multiprocessing, os, signal, torch
from adarts_ext.data.stored import ImagesInMemory
killed = os.fork()
images = ImagesInMemory.of(torch.zeros(64, 1, 4, 4, dtype=torch.uint8), 2)
batches = images.batches(torch.arange(64).split(1))
next(batches)
print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)
if not killed:
    os.kill(os.getpid(), signal.SIGKILL)
assert os.waitpid(killed, 0)[1] == signal.SIGKILL
1 / 0
"""


@pytest.mark.slow
def test_a_program_that_fails_or_is_killed_leaves_no_worker():
    """One program is both, of which the one that is killed is the other's child."""
    program = [sys.executable, "-c", PROGRAM]
    run = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert "ZeroDivisionError" in run.stderr
    workers = [int(number) for number in run.stdout.split()]
    assert len(workers) == 4
    until = time.monotonic() + 60
    while any(map(is_running, workers)):
        assert time.monotonic() < until
        time.sleep(0.05)


def is_running(process):
    """Whether a process is there, and not only its exit status."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass(frozen=True, eq=False)
class Deadly(StoredImages):
    """Images that kill who reads them."""

    def read_at(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_dies_is_an_error_in_one_line():
    handler = signal.getsignal(signal.SIGCHLD)
    images = Deadly(torch.arange(50), (3, 16, 16), workers=1)
    with pytest.raises(
        ChildProcessError, match=r"has ended, .* workers \(there were 1\)"
    ) as caught:
        make_loader(images).next()
    assert "\n" not in str(caught.value)
    assert signal.getsignal(signal.SIGCHLD) is handler


@dataclass(frozen=True, eq=False)
class Dying(StoredImages):
    """Images whose third batch lets go of the second, as if who reads them were being killed."""

    def read_at(self, index):
        if index[0] == 2:
            time.sleep(0.3)  # until the second is on its way
            resource_sharer.stop()
            time.sleep(2)
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(1, 1, 4, 4, dtype=torch.uint8)


def test_a_batch_that_went_with_its_worker_is_the_same_error():
    batches = Dying(torch.arange(9), (1, 4, 4), workers=1).batches(torch.arange(9).split(1))
    next(batches)
    time.sleep(1)
    with pytest.raises(ChildProcessError, match=r"^a process that reads images has ended, perhaps"):
        next(batches)


@pytest.fixture
def photos(tmp_path):
    """Eight training images and two test images, of several sizes, one of them grey."""
    for part, count in (("train", 4), ("test", 1)):
        for name in ("bee", "ant"):
            for number in range(count):
                mode = "L" if number == 2 else "RGB"
                path = tmp_path / part / name / f"{number}.png"
                write_image(path, size=(20 + number, 18), mode=mode, seed=number)
    return tmp_path


def test_images_that_stay_in_their_files_have_the_same_pixels(photos):
    whole = load(photos, image_size=16)
    data = load_dataset("folder", str(photos), image_size=16, workers=1)
    assert isinstance(data.train_images, ImagesInFiles)
    assert (data.train_images.shape, data.files) == (whole.train_images.shape, whole.files)
    chosen = torch.tensor([6, 2, 3])
    assert torch.equal(data.train_images.read(chosen), whole.train_images[chosen])
    assert torch.equal(torch.cat(list(data.test_images.in_chunks("test"))), whole.test_images)
    assert (data.mean, data.std) == (whole.mean, whole.std)
    half = data.train_images[torch.tensor([1, 5, 6])]
    ours = make_loader(half, batch_size=2, drop_last=False)
    theirs = make_loader(whole.train_images[[1, 5, 6]], batch_size=2, drop_last=False)
    assert_same_batches(take(ours, 4), take(theirs, 4))


def test_a_folder_that_is_too_large_for_memory_stays_in_its_files(photos, monkeypatch):
    size = 10 * 3 * 16 * 16
    monkeypatch.setattr(folder_module, "available_memory", lambda: 4 * size)
    assert isinstance(load(photos, image_size=16).train_images, torch.Tensor)
    monkeypatch.setattr(folder_module, "available_memory", lambda: 4 * size - 1)
    assert isinstance(load(photos, image_size=16).train_images, ImagesInFiles)
    monkeypatch.setattr(folder_module, "available_memory", lambda: 8 * size - 1)
    assert isinstance(load(photos, image_size=16).train_images, torch.Tensor)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # two processes on one machine share it
    assert isinstance(load(photos, image_size=16).train_images, ImagesInFiles)


def test_a_damaged_image_is_named_by_who_asks_for_it(photos):
    path = photos / "train" / "ant" / "1.png"
    path.write_bytes(path.read_bytes()[:200])
    data = load_dataset("folder", str(photos), image_size=16, workers=1)
    loader = make_loader(data.train_images, batch_size=2)
    with pytest.raises(ValueError, match=f"^{path}: damaged image") as caught:
        take(loader, 4)
    assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        take(make_loader(data.train_images, batch_size=2), 4)
    assert caught.value.filename == str(path)


def test_mean_and_deviation_of_a_large_folder_are_those_of_a_sample(photos, monkeypatch):
    monkeypatch.setattr(dataset_module, "SAMPLE", 3)
    whole = load(photos, image_size=16)
    in_files = load_dataset("folder", str(photos), image_size=16, workers=0)
    assert (whole.mean, whole.std) == (in_files.mean, in_files.std)
    values = whole.train_images.double() / 255
    assert whole.mean != pytest.approx(values.mean(dim=(0, 2, 3)).tolist(), rel=1e-9)
    every_one = replace(whole, files=None)
    assert every_one.mean == pytest.approx(values.mean(dim=(0, 2, 3)).tolist(), rel=1e-9)
