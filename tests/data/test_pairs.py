"""Map-style data sets of torch become images in memory, or one clear error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from adarts_ext.data import image_dataset

GREY = torch.arange(4 * 6 * 5, dtype=torch.uint8).reshape(4, 1, 6, 5)
COLOUR = torch.arange(4 * 3 * 6 * 5).remainder(256).to(torch.uint8).reshape(4, 3, 6, 5)
LABELS = torch.tensor([0, 2, 1, 2])


def as_pil(image):
    return Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())


@pytest.mark.parametrize(
    ("images", "form"),
    [
        (GREY, lambda image: image),
        (COLOUR, lambda image: image),
        (GREY, lambda image: image[0]),
        (COLOUR, lambda image: image.float() / 255),
        (GREY, lambda image: image[0].double() / 255),
        (COLOUR, lambda image: (image.float() / 255).requires_grad_()),
        (GREY, as_pil),
        (COLOUR, as_pil),
    ],
)
@pytest.mark.parametrize("label", [int, np.int64, torch.tensor])
def test_images_and_labels_are_read_as_they_are(images, form, label):
    pairs = [(form(image), label(int(k))) for image, k in zip(images, LABELS, strict=True)]
    data = image_dataset(pairs, pairs[:3])
    assert torch.equal(data.train_images, images)
    assert torch.equal(data.test_images, images[:3])
    assert torch.equal(data.train_labels, LABELS)
    assert torch.equal(data.test_labels, LABELS[:3])
    assert (data.class_names, data.flip) == (("0", "1", "2"), False)


def test_a_data_set_of_torch_without_test_images():
    data = image_dataset(Subset(TensorDataset(COLOUR, LABELS), [1, 2]), flip=True)
    assert torch.equal(data.train_images, COLOUR[1:3])
    assert data.test_images.shape == (0, 3, 6, 5)
    assert data.flip
    assert data.name == "Subset"


def test_classes_have_the_names_that_the_data_set_knows():
    train = TensorDataset(GREY, LABELS)
    train.classes = ["ant", "bee", "cow", "dog"]
    assert image_dataset(train).class_names == ("ant", "bee", "cow", "dog")
    train.classes = ["ant", "bee"]
    with pytest.raises(ValueError, match=r"train labels must lie in \[0, 2\), got 0 to 2"):
        image_dataset(train)


def test_classes_that_only_the_test_images_have_count():
    data = image_dataset([(GREY[0], 0)], [(GREY[0], 3)])
    assert data.num_classes == 4


class Endless(IterableDataset):
    def __iter__(self):
        yield GREY[0], 0


class Changing(TensorDataset):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return torch.rand_like(image.float()), label


@pytest.mark.parametrize(
    "pairs", [Endless(), DataLoader(TensorDataset(GREY)), GREY, {0: (GREY[0], 0)}, 3, iter([])]
)
def test_what_is_no_map_style_data_set(pairs):
    with pytest.raises(TypeError, match=r"train: expected a map-style data set .* got "):
        image_dataset(pairs)
    with pytest.raises(TypeError, match="test: expected a map-style data set"):
        image_dataset([(GREY[0], 0)], pairs)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (GREY[1], r"expected a pair \(image, label\), got a Tensor"),
        ({"image": GREY[1]}, "got a dict"),
        ((GREY[1],), "got a tuple of 1"),
        ((GREY[1], 0.5), r"expected a label, a whole number from 0 on, got 0\.5"),
        ((GREY[1], -1), "from 0 on, got -1"),
        ((GREY[1], "ant"), "from 0 on, got 'ant'"),
        ((GREY[1], torch.tensor([0, 1])), "from 0 on, got tensor"),
        ((GREY[1][:, :4], 0), r"of shape \(1, 6, 5\) like that of train\[0\], got \(1, 4, 5\)"),
        ((COLOUR[1], 0), r"like that of train\[0\], got \(3, 6, 5\)"),
        ((GREY, 0), r"expected an image \(C, H, W\) or \(H, W\), got shape \(4, 1, 6, 5\)"),
        ((GREY[1].numpy(), 0), "a tensor or of PIL, got a ndarray"),
        ((GREY[1].int(), 0), "expected a uint8 or floating-point image, got torch.int32"),
        ((GREY[1].float(), 0), "from 0 to 1 in a floating-point image, got 30 to 59"),
        ((GREY[1] / 255 - 0.5, 0), "leave normalisation out"),
        ((torch.full((1, 6, 5), float("nan")), 0), "got nan to nan"),
        ((Image.new("I;16", (5, 6)), 0), "expected 8 bits a channel, got PIL mode I;16"),
    ],
)
def test_what_is_no_pair_is_named_by_its_place(second, message):
    with pytest.raises(ValueError, match=message) as caught:
        image_dataset([(GREY[0], 0), second])
    assert str(caught.value).startswith("train[1]: ")


def test_no_images():
    with pytest.raises(ValueError, match="test: expected at least one image, got an empty list"):
        image_dataset([(GREY[0], 0)], [])


def test_random_transforms_are_found_out():
    with pytest.raises(ValueError, match=r"train\[0\]: gives another image each time"):
        image_dataset(Changing(GREY, LABELS))
