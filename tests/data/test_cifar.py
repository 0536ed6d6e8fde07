from __future__ import annotations

import functools
import hashlib
import tarfile
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from adarts_ext.data import load_dataset
from adarts_ext.data.cifar import CIFAR10, CIFAR100, load_cifar

# The true layouts, with fewer images a file than the 10,000 or 50,000 of the published ones.
SMALL = [
    replace(CIFAR10, train_images=8, test_images=5),
    replace(CIFAR100, train_images=12, test_images=5),
]


def write_cifar(layout, data_dir, seed=0):
    """Write a data set in the published format; give each file's (images, labels)."""
    generator = np.random.default_rng(seed)
    folder = data_dir / layout.folder
    folder.mkdir(parents=True)
    written = {}
    for name, count in layout.files.items():
        images = generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        labels = generator.integers(0, layout.num_classes, count, dtype=np.uint8)
        with open(folder / name, "wb") as file:
            for image, label in zip(images, labels, strict=True):
                if layout.label_bytes == 2:
                    file.write(bytes([label // 5]))
                file.write(bytes([label]))
                for channel in image:  # red, green, blue, each row by row
                    file.write(channel.tobytes())
        written[name] = images, labels
    names = [f"name_{label}" for label in range(layout.num_classes)]
    (folder / layout.names_file).write_text("\n".join(names) + "\n\n")
    return written


@pytest.fixture(params=SMALL, ids=["cifar10", "cifar100"])
def layout(request):
    return request.param


def test_images_and_labels_come_as_written(layout, tmp_path):
    written = write_cifar(layout, tmp_path)
    data = load_cifar(layout, tmp_path)
    train_images = np.concatenate([written[name][0] for name in layout.train_files])
    train_labels = np.concatenate([written[name][1] for name in layout.train_files])
    assert np.array_equal(data.train_images.numpy(), train_images)
    assert np.array_equal(data.train_labels.numpy(), train_labels)
    assert np.array_equal(data.test_images.numpy(), written[layout.test_file][0])
    assert np.array_equal(data.test_labels.numpy(), written[layout.test_file][1])
    assert data.train_labels.dtype == torch.int64
    assert data.num_classes == layout.num_classes
    assert data.class_names[3] == "name_3"
    assert (data.image_size, data.padding, data.flip) == ((32, 32), 4, True)


def test_missing_data_say_how_to_get_them(layout, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"download=True.*data_dir") as caught:
        load_dataset(layout.name, str(tmp_path))
    assert layout.folder in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lost", [1, 3073, 3074])
def test_truncated_file_is_named(layout, tmp_path, lost):
    write_cifar(layout, tmp_path)
    path = tmp_path / layout.folder / layout.train_files[-1]
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(ValueError, match=r"truncated or damaged, expected \d+ bytes") as caught:
        load_cifar(layout, tmp_path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_label_beyond_the_classes(layout, tmp_path):
    write_cifar(layout, tmp_path)
    path = tmp_path / layout.folder / layout.test_file
    content = bytearray(path.read_bytes())
    content[layout.label_bytes - 1] = layout.num_classes
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"labels must be below {layout.num_classes}, got"):
        load_cifar(layout, tmp_path)


@pytest.mark.parametrize("content", [b"one name\n", b"\xff\xfe"])
def test_class_names_that_are_damaged(layout, tmp_path, content):
    write_cifar(layout, tmp_path)
    path = tmp_path / layout.folder / layout.names_file
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged") as caught:
        load_cifar(layout, tmp_path)
    assert str(caught.value).startswith(str(path))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that a web server on this machine publishes, and its address."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def published(layout, site):
    """A layout whose archive is published, and what is in it."""
    folder, address = site
    written = write_cifar(layout, folder)
    archive = folder / layout.url.rsplit("/", 1)[1]
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / layout.folder, layout.folder)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    return replace(layout, url=f"{address}/{archive.name}", md5=md5), written


def test_download(published, tmp_path):
    layout, written = published
    data = load_cifar(layout, tmp_path / "data", download=True)
    assert np.array_equal(data.test_images.numpy(), written[layout.test_file][0])
    assert [path.name for path in (tmp_path / "data").iterdir()] == [layout.folder]


def test_download_repairs_a_truncated_file(published, tmp_path):
    layout, written = published
    load_cifar(layout, tmp_path / "data", download=True)
    path = tmp_path / "data" / layout.folder / layout.test_file
    path.write_bytes(path.read_bytes()[:-1])
    data = load_cifar(layout, tmp_path / "data", download=True)
    assert np.array_equal(data.test_images.numpy(), written[layout.test_file][0])


def test_whole_data_are_not_downloaded_again(layout, site, tmp_path):
    write_cifar(layout, tmp_path)
    nowhere = replace(layout, url=f"{site[1]}/absent.tar.gz")
    assert len(load_cifar(nowhere, tmp_path, download=True).test_images) == 5


def test_archive_with_another_checksum_is_not_unpacked(published, tmp_path):
    layout, _ = published
    forged = replace(layout, md5="0" * 32)
    with pytest.raises(OSError, match=f"{layout.name}: cannot fetch http:") as caught:
        load_cifar(forged, tmp_path / "data", download=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data" / layout.folder).exists()


def test_download_that_fails(layout, site, tmp_path):
    nowhere = replace(layout, url=f"{site[1]}/absent.tar.gz")
    with pytest.raises(OSError, match=f"{layout.name}: cannot fetch") as caught:
        load_cifar(nowhere, tmp_path / "data", download=True)
    assert "\n" not in str(caught.value)


def test_published_sizes():
    # 162 MB and 161 MB archives of 60,000 images each.
    assert sum(CIFAR10.files.values()) == 60_000
    assert sum(CIFAR100.files.values()) == 60_000


def test_another_image_size_is_refused(layout):
    with pytest.raises(ValueError, match="32 pixels wide, got image_size 16"):
        load_dataset(layout.name, image_size=16)
