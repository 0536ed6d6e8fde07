from __future__ import annotations

import gzip
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from adarts_ext.data import load_dataset
from adarts_ext.data.idx import FASHION_MNIST, MNIST, TEST, TRAIN, load_idx


def idx(values):
    """A file of bytes in the published format."""
    sizes = b"".join(struct.pack(">I", size) for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


def write(folder, packed=False):
    """Write a small data set; return the images and labels of each part."""
    folder.mkdir(parents=True, exist_ok=True)
    generator, written = np.random.default_rng(0), []
    for names, count in ((TRAIN, 30), (TEST, 20)):
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        for name, values in zip(names, (images, labels), strict=True):
            content = gzip.compress(idx(values)) if packed else idx(values)
            (folder / (f"{name}.gz" if packed else name)).write_bytes(content)
        written.append((images, labels))
    return written


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", [FASHION_MNIST, MNIST], ids=lambda layout: layout.name)
@pytest.mark.parametrize("below", ["", "raw"])
def test_images_and_labels_come_as_written(tmp_path, layout, packed, below):
    (train, test) = write(tmp_path / layout.torchvision / below if below else tmp_path, packed)
    data = load_dataset(layout.name, str(tmp_path))
    for images, labels, (wrote_images, wrote_labels) in (
        (data.train_images, data.train_labels, train),
        (data.test_images, data.test_labels, test),
    ):
        assert np.array_equal(images.squeeze(1).numpy(), wrote_images)
        assert np.array_equal(labels.numpy(), wrote_labels)
    assert data.train_labels.dtype == torch.int64
    assert (data.name, data.num_classes, data.flip) == (layout.name, 10, layout == FASHION_MNIST)


def test_the_debian_package_is_found_where_no_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layout = replace(FASHION_MNIST, installed=tmp_path / "installed")
    with pytest.raises(FileNotFoundError, match=r"apt-get install dataset-fashion-mnist") as caught:
        load_idx(layout, None)
    assert "download=True" in str(caught.value)
    write(layout.installed, packed=True)
    assert len(load_idx(layout, None).train_labels) == 30
    with pytest.raises(FileNotFoundError, match="elsewhere has no train-images"):
        load_idx(layout, tmp_path / "elsewhere")
    write(tmp_path / "data" / "FashionMNIST" / "raw")
    (tmp_path / "data" / "FashionMNIST" / "raw" / TEST[1]).unlink()
    with pytest.raises(FileNotFoundError, match=rf"raw/{TEST[1]} is missing"):
        load_idx(layout, None)  # and it does not take the package's for them


def test_download_is_torchvisions(tmp_path, monkeypatch):
    from torchvision import datasets

    def fetch(root, download):
        assert download
        write(tmp_path / "data" / "MNIST" / "raw", packed=True)

    monkeypatch.setattr(datasets, "MNIST", fetch)
    assert len(load_idx(MNIST, tmp_path / "data", download=True).test_labels) == 20

    def fail(root, download):
        raise RuntimeError("no network")

    monkeypatch.setattr(datasets, "MNIST", fail)
    assert len(load_idx(MNIST, tmp_path / "data", download=True).test_labels) == 20
    with pytest.raises(OSError, match="mnist: cannot be fetched: no network"):
        load_idx(MNIST, tmp_path / "other", download=True)


DAMAGES = {
    "cut short": (lambda content: content[:-1], "expected 23520 values, got 23519"),
    "something else": (lambda content: b"PK" + content, "expected an IDX file of bytes"),
    "nothing": (lambda content: b"", "expected an IDX file of bytes"),
    "of another type": (lambda content: bytes([0, 0, 9]) + content[3:], "expected an IDX file"),
    "other sizes": (
        lambda content: idx(np.zeros((30, 14, 56), np.uint8)),
        r"expected \(N, 28, 28\)",
    ),
    "fewer images": (lambda content: idx(np.zeros((29, 28, 28), np.uint8)), "as many labels"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(tmp_path, damage):
    write(tmp_path)
    change, message = DAMAGES[damage]
    path = tmp_path / TRAIN[0]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"{TRAIN[0]}: .*{message}"):
        load_idx(MNIST, tmp_path)


def test_a_damaged_archive_and_a_label_out_of_range_are_named(tmp_path):
    write(tmp_path / "packed", packed=True)
    path = tmp_path / "packed" / f"{TRAIN[0]}.gz"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=rf"{TRAIN[0]}.gz: damaged"):
        load_idx(MNIST, tmp_path / "packed")
    write(tmp_path)
    (tmp_path / TRAIN[1]).write_bytes(idx(np.full(30, 10, np.uint8)))
    with pytest.raises(ValueError, match=rf"{TRAIN[1]}: damaged, labels must be below 10, got 10"):
        load_idx(MNIST, tmp_path)


def test_their_images_have_one_size(tmp_path):
    with pytest.raises(ValueError, match="mnist: its images are 28 pixels wide, got image_size 32"):
        load_dataset("mnist", str(tmp_path), image_size=32)
