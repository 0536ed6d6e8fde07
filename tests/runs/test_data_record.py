"""A run goes on only with the data that it was begun with."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from adarts_ext.data import ImageDataset
from adarts_ext.files import read_json, write_json
from adarts_ext.runs.data_record import (
    changed_data,
    check_same_data,
    load_images_record,
    save_data_record,
)


def make(**changes) -> ImageDataset:
    images = torch.arange(4 * 16, dtype=torch.uint8).reshape(4, 1, 4, 4)
    labels = torch.tensor([0, 1, 0, 1])
    data = ImageDataset("folder", images, labels, images[:2], labels[:2], ("a", "b"), True)
    return dataclasses.replace(data, **changes)


def test_the_same_data_are_the_same(tmp_path):
    assert changed_data(tmp_path, make()) is None  # no record: a run of an earlier version
    save_data_record(tmp_path, make())
    assert changed_data(tmp_path, make()) is None
    check_same_data(tmp_path, make())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ("a", "c")}, "its classes were a, b; they are a, c"),
        ({"test_images": make().train_images, "test_labels": make().train_labels}, "it had 2 test"),
        ({"train_images": make().train_images[:2], "train_labels": torch.tensor([0, 1])}, "had 4"),
        ({"train_images": make().train_images.flip(0)}, "images or labels have changed"),
        ({"train_labels": make().train_labels.flip(0)}, "images or labels have changed"),
    ],
)
def test_other_data_are_refused(tmp_path, changes, message):
    save_data_record(tmp_path, make())
    with pytest.raises(ValueError, match="was begun with other data") as caught:
        check_same_data(tmp_path, make(**changes))
    assert message in str(caught.value)


def test_the_record_says_what_images_the_network_takes(tmp_path):
    save_data_record(tmp_path, make())
    mean, std = make().mean, make().std
    expected = {"image_size": [4, 4], "mean": [*mean], "std": [*std], "class_names": ["a", "b"]}
    assert load_images_record(tmp_path) == expected


def test_a_run_of_an_earlier_version_goes_on_but_does_not_say_what_images_it_takes(tmp_path):
    save_data_record(tmp_path, make())
    record = read_json(tmp_path / "dataset.json")
    earlier = {n: v for n, v in record.items() if n not in ("image_size", "mean", "std", "files")}
    write_json(tmp_path / "dataset.json", earlier)
    check_same_data(tmp_path, make())
    with pytest.raises(
        ValueError, match=r"dataset\.json: expected image_size, mean, std, class_na"
    ):
        load_images_record(tmp_path)


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(ValueError, match=r"dataset\.json: damaged"):
        changed_data(tmp_path, make())
