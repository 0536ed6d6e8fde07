from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from adarts_ext.data import DATASETS, ImageDataset, load_dataset, split
from adarts_ext.data.split import stratified_indices


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def random_dataset(count=60, channels=3, classes=3, flip=True):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, 8, 12), generator=generator).to(torch.uint8)
    labels = torch.arange(count) % classes
    names = tuple(f"class {label}" for label in range(classes))
    return ImageDataset("random", images, labels, images[:6], labels[:6], names, flip)


def test_digits_shapes(digits):
    assert digits.train_images.shape == (1500, 1, 16, 16)
    assert digits.test_images.shape == (297, 1, 16, 16)
    assert digits.train_images.dtype == torch.uint8
    assert digits.train_labels.dtype == torch.int64
    assert (digits.in_channels, digits.image_size, digits.num_classes) == (1, (16, 16), 10)
    assert digits.padding == 2
    assert not digits.flip


def test_digits_are_those_of_scikit_learn(digits):
    from sklearn.datasets import load_digits

    original = load_digits()
    native = load_dataset("digits", image_size=8)
    images = torch.cat([native.train_images, native.test_images]).squeeze(1).numpy()
    labels = torch.cat([native.train_labels, native.test_labels]).numpy()
    expected = np.round(original.images * 255 / 16).astype(np.uint8)
    # As multisets of (image, label): every image is there exactly as often as in the original,
    # so none is in both parts.
    ours = sorted((image.tobytes(), label) for image, label in zip(images, labels, strict=True))
    theirs = sorted(
        (image.tobytes(), label) for image, label in zip(expected, original.target, strict=True)
    )
    assert ours == theirs


def test_digits_use_the_whole_range(digits):
    native = load_dataset("digits", image_size=8)
    assert int(native.train_images.min()) == 0
    assert int(native.train_images.max()) == 255


def test_digits_are_the_same_each_time(digits):
    again = load_dataset("digits")
    assert torch.equal(again.train_images, digits.train_images)
    assert torch.equal(again.test_labels, digits.test_labels)


def test_digits_test_images_are_stratified(digits):
    test = torch.bincount(digits.test_labels)
    everything = test + torch.bincount(digits.train_labels)
    assert ((test - everything * 297 / 1797).abs() < 1).all()


@pytest.mark.parametrize("image_size", [16, 32, 21])
def test_enlarged_digits_are_those_that_pillow_makes(image_size):
    native = load_dataset("digits", image_size=8)
    larger = load_dataset("digits", image_size=image_size)
    assert larger.image_size == (image_size, image_size)
    assert torch.equal(larger.test_labels, native.test_labels)
    for small, large in zip(native.test_images[:20, 0], larger.test_images[:20, 0], strict=True):
        image = Image.fromarray(small.numpy())
        expected = np.asarray(image.resize((image_size,) * 2, Image.Resampling.BILINEAR))
        # One grey level: both round, Pillow after each of its two passes.
        assert np.abs(expected.astype(int) - large.numpy().astype(int)).max() <= 1


def test_digits_cannot_shrink():
    with pytest.raises(ValueError, match="at least 8, got 4"):
        load_dataset("digits", image_size=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"name": "digits", "data_dir": "photos"},
            "data_dir: expected none, as the digits .*, got photos",
        ),
        ({"name": "digits", "download": True}, "download: expected no, as digits .* got yes"),
        (
            {"name": "folder", "data_dir": ".", "download": True},
            "download: expected no, as folder .* got yes",
        ),
    ],
)
def test_options_that_a_data_set_has_no_use_for(options, message):
    with pytest.raises(ValueError, match=message):
        load_dataset(**options)


def test_mean_and_std_are_those_of_the_training_images():
    data = random_dataset()
    values = data.train_images.double() / 255
    expected_mean = values.mean(dim=(0, 2, 3))
    expected_std = values.std(dim=(0, 2, 3), correction=0)
    bound = 100 * torch.finfo(torch.float64).eps
    assert (torch.tensor(data.mean, dtype=torch.float64) - expected_mean).abs().max() < bound
    assert (torch.tensor(data.std, dtype=torch.float64) - expected_std).abs().max() < bound


def test_constant_channel_has_a_usable_std():
    images = torch.full((4, 1, 8, 8), 7, dtype=torch.uint8)
    labels = torch.tensor([0, 1, 0, 1])
    data = ImageDataset("flat", images, labels, images, labels, ("a", "b"), False)
    assert data.std == (1.0,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": torch.zeros(60, 3, 8, 12)}, "train images must be .* uint8, got"),
        ({"test_images": torch.zeros(6, 3, 8, 8, dtype=torch.uint8)}, "training images are"),
        ({"train_labels": torch.zeros(5, dtype=torch.int64)}, r"must be \(60,\) int64, got \(5,\)"),
        ({"test_labels": torch.full((6,), 3)}, r"must lie in \[0, 3\), got 3 to 3"),
        ({"train_images": torch.zeros(0, 3, 8, 12, dtype=torch.uint8)}, "train images must be"),
        ({"test_images": torch.zeros(6, 3, 0, 12, dtype=torch.uint8)}, "test images must be"),
        ({"test_images": torch.zeros(0, 3, 8, 12, dtype=torch.uint8)}, r"must be \(0,\) int64"),
    ],
)
def test_parts_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(random_dataset(), **changes)


def test_unknown_dataset():
    with pytest.raises(ValueError, match=r"expected one of digits, fashion-mnist.*got 'imagenet'"):
        load_dataset("imagenet")


def test_datasets_are_named():
    assert DATASETS == ("digits", "fashion-mnist", "mnist", "cifar10", "cifar100", "folder")


@pytest.mark.parametrize("fraction", [0.5, 0.25, 0.9])
def test_split_is_whole_without_overlap_and_stratified(digits, fraction):
    first, second = split(digits, fraction, seed=0)
    assert len(first) == round(fraction * 1500)
    assert torch.equal(torch.cat([first, second]).sort().values, torch.arange(1500))
    sizes = torch.bincount(digits.train_labels)
    chosen = torch.bincount(digits.train_labels[first])
    assert ((chosen - fraction * sizes).abs() < 1).all()


def test_split_depends_on_the_seed_only(digits):
    torch.manual_seed(1)
    first, _ = split(digits, 0.5, seed=3)
    torch.manual_seed(2)
    again, _ = split(digits, 0.5, seed=3)
    other, _ = split(digits, 0.5, seed=4)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 1e-9, float("nan")])
def test_split_needs_two_halves(digits, fraction):
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\)"):
        split(digits, fraction, seed=0)


def test_stratified_indices_share_out_the_remainders():
    labels = torch.tensor([0] * 3 + [1] * 3 + [3] * 4)
    chosen, left = stratified_indices(labels, 5, seed=0)
    # Shares of 1.5, 1.5, 0 and 2: the one that is missing goes to the lower class.
    assert torch.bincount(labels[chosen]).tolist() == [2, 1, 0, 2]
    assert len(left) == 5
