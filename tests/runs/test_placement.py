"""Where the images of a run are kept."""

from __future__ import annotations

import torch
from image_folder import write_images

from adarts_ext.data import ImageDataset, load_dataset
from adarts_ext.data.stored import ImagesInMemory
from adarts_ext.runs import placement
from adarts_ext.runs.placement import place_images

CPU = torch.device("cpu")
SIZE = 12 * 3 * 8 * 8


def noise():
    images = torch.randint(256, (10, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    images, labels = images.to(torch.uint8), torch.arange(10) % 2
    return ImageDataset("noise", images, labels, images[:2], labels[:2], ("a", "b"), flip=True)


def test_images_that_a_device_has_no_room_for_stay_in_memory(monkeypatch, capsys):
    data = noise()
    monkeypatch.setattr(placement, "free_memory", lambda device: 2 * SIZE)
    assert place_images(data, CPU) is data
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(placement, "free_memory", lambda device: 2 * SIZE - 1)
    placed = place_images(data, CPU)
    assert isinstance(placed.train_images, ImagesInMemory)
    assert (placed.mean, placed.std) == (data.mean, data.std)
    err = capsys.readouterr().err
    assert err.startswith("images of 0.0 GiB stay off cpu, read by ")
    assert err.count("\n") == 1


def test_workers_keep_images_off_the_device_in_any_case(tmp_path, capsys):
    placed = place_images(noise(), CPU, workers=3)
    assert placed.test_images.workers == 3
    images = write_images(tmp_path, 1, 1)
    in_files = load_dataset("folder", str(images), workers=0)
    assert place_images(in_files, CPU, workers=2).train_images.workers == 2
    assert capsys.readouterr().err == ""
    assert place_images(in_files, CPU).train_images.workers >= 1
    assert "stay in their files, read by " in capsys.readouterr().err
