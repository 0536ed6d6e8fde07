"""CIFAR's Python version: read as published, by an unpickler that admits only what it holds."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from test_cifar import SMALL, write_cifar

from adarts_ext.data.cifar import load_cifar


class Old(pickle._Pickler):
    """Writes byte strings as Python 2 did, in which CIFAR was pickled."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, content):
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)
        self.memoize(content)

    dispatch[bytes] = save_bytes


def pickled(value) -> bytes:
    """Pickle as numpy did before its second version, whose modules have other names."""
    file = io.BytesIO()
    Old(file, protocol=2).dump(value)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def write_python(layout, data_dir):
    """Write the Python version, whose checksums are then the layout's; give images and labels."""
    version, generator = layout.python, np.random.default_rng(0)
    folder = data_dir / version.folder
    folder.mkdir(parents=True)
    written, md5 = {}, {}

    def write(name, value):
        content = pickled(value)
        (folder / name).write_bytes(content)
        md5[name] = hashlib.md5(content).hexdigest()

    counts = {name: layout.train_images for name in version.train_files}
    for name, count in (counts | {version.test_file[0]: layout.test_images}).items():
        images = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = generator.integers(0, layout.num_classes, count).tolist()
        write(name, {b"data": images, version.labels.encode(): labels, b"batch_label": b"one"})
        written[name] = images.reshape(-1, 3, 32, 32), labels
    names = [f"name_{label}".encode() for label in range(layout.num_classes)]
    write(version.names_file[0], {version.names.encode(): names})
    version = replace(
        version,
        train_files={name: md5[name] for name in version.train_files},
        test_file=(version.test_file[0], md5[version.test_file[0]]),
        names_file=(version.names_file[0], md5[version.names_file[0]]),
    )
    return replace(layout, python=version), written


@pytest.fixture(params=SMALL, ids=["cifar10", "cifar100"])
def stored(request, tmp_path):
    return write_python(request.param, tmp_path)


def assert_read(layout, written, data_dir):
    data = load_cifar(layout, data_dir)
    names = layout.python.train_files
    assert np.array_equal(data.train_images, np.concatenate([written[n][0] for n in names]))
    assert data.train_labels.tolist() == [label for n in names for label in written[n][1]]
    images, labels = written[layout.python.test_file[0]]
    assert np.array_equal(data.test_images, images)
    assert data.test_labels.tolist() == labels
    assert data.class_names[3] == "name_3"


def test_from_the_folder_its_parent_and_the_archive(stored, tmp_path):
    layout, written = stored
    folder = layout.python.folder
    assert_read(layout, written, tmp_path)
    assert_read(layout, written, tmp_path / folder)
    (tmp_path / "packed").mkdir()
    archive = tmp_path / "packed" / layout.python.archive
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / folder, folder)
    assert_read(layout, written, archive)
    assert_read(layout, written, tmp_path / "packed")
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(ValueError, match="no archive, or a damaged one"):
        load_cifar(layout, archive)


@pytest.mark.parametrize("layout", SMALL, ids=["cifar10", "cifar100"])
def test_the_binary_version_from_its_folder_and_archive(layout, tmp_path):
    written = write_cifar(layout, tmp_path)
    images = written[layout.test_file][0]
    assert np.array_equal(load_cifar(layout, tmp_path / layout.folder).test_images, images)
    archive = tmp_path / "any name.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / layout.folder, layout.folder)
    with pytest.raises(ValueError, match="not as published"):
        load_cifar(layout, archive)
    layout = replace(layout, md5=hashlib.md5(archive.read_bytes()).hexdigest())
    assert np.array_equal(load_cifar(layout, archive).test_images, images)


def test_a_changed_file_is_not_unpickled(stored, tmp_path):
    layout, _ = stored
    path = tmp_path / layout.python.folder / layout.python.test_file[0]
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ValueError, match="not as published: its MD5 is") as caught:
        load_cifar(layout, tmp_path)
    assert str(path) in str(caught.value)


class Calls:
    """Pickled, it calls a function when it is read."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Calls(eval, "open(path)")), "builtins.eval"),
        (pickle.dumps(Calls(np.load, "path", None, True)), "load, which no file of CIFAR holds"),
        (pickle.dumps(np.array([Calls(eval, "1")], dtype=object)), "builtins.eval"),
        (pickle.dumps([1]), "holds a list, expected a dict"),
        (pickle.dumps({"data": np.zeros((2, 3072))}), "holds no images"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}), "holds no images"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}), "0 to 9"),
        (b"\x80", "not read"),
    ],
)
def test_what_no_file_of_cifar_holds_is_refused(content, message, tmp_path):
    layout, _ = write_python(SMALL[0], tmp_path)
    name = layout.python.test_file[0]
    (tmp_path / layout.python.folder / name).write_bytes(content)
    version = replace(layout.python, test_file=(name, hashlib.md5(content).hexdigest()))
    with pytest.raises(ValueError, match=name) as caught:
        load_cifar(replace(layout, python=version), tmp_path)
    assert message in str(caught.value)


def test_a_missing_file_is_named(stored, tmp_path):
    layout, _ = stored
    (tmp_path / layout.python.folder / layout.python.names_file[0]).unlink()
    with pytest.raises(FileNotFoundError, match=layout.python.names_file[0]):
        load_cifar(layout, tmp_path)
