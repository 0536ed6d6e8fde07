"""Views of large images: random ones as often as torchvision's, the middle the same as its."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from test_folder import write_image
from test_loader import assert_same_batches, make_loader, take
from torch import Tensor
from torchvision.transforms import v2

from adarts_ext.data import load_dataset
from adarts_ext.data.views import ViewsOfFiles

SIDE = 32


def load(folder, side=SIDE, workers=0, **options):
    settings = {"image_size": side, "workers": workers, "augmentation": "imagenet"}
    return load_dataset("folder", str(folder), **settings | options)


def fill(folder, *images: Image.Image):
    """Make an image folder: in each part two classes that have these images."""
    for part in ("train", "test"):
        for name in ("a", "b"):
            (folder / part / name).mkdir(parents=True)
            for number, image in enumerate(images):
                image.save(folder / part / name / f"{number}.png")
    return folder


@pytest.fixture
def photos(tmp_path):
    """Eleven training images and two test images, of several sizes, one of them grey."""
    for part, counts in (("train", (6, 5)), ("test", (1, 1))):
        for name, count in zip(("ant", "bee"), counts, strict=True):
            for number in range(count):
                mode = "L" if number == 2 else "RGB"
                size = (40 + 9 * number, 70 - 8 * number)
                write_image(tmp_path / part / name / f"{number}.png", size, mode, seed=number)
    return tmp_path


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(90, 60), (50, 120), (37, 37), (20, 24)])
def test_the_middle_is_that_of_torchvision(mode, size, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    data = load(fill(tmp_path, image), side=56)
    middle = v2.Compose([v2.Resize(64), v2.CenterCrop(56), v2.PILToTensor()])
    assert isinstance(data.test_images, ViewsOfFiles)
    assert torch.equal(data.test_images.read(torch.tensor([1]))[0], middle(image))
    assert torch.equal(data.train_images.read(torch.tensor([0]))[0], middle(image))


def many_views(folder, count: int, **options) -> Tensor:
    """Random views of the first training image."""
    images = load(folder).train_images[torch.zeros(count, dtype=torch.int64)]
    return make_loader(images, batch_size=count, **options).next()[0]


def assert_same_distribution(ours: Tensor, theirs: Tensor) -> None:
    """Kolmogorov and Smirnov's test of two samples; a false alarm has a chance of 1e-6."""
    values = torch.cat([ours, theirs]).sort().values
    parts = [
        torch.searchsorted(sample.sort().values, values, right=True) / len(sample)
        for sample in (ours, theirs)
    ]
    distance = (parts[0] - parts[1]).abs().max()
    assert distance < 2.7 * (1 / len(ours) + 1 / len(theirs)) ** 0.5


def test_crops_and_flips_are_as_often_as_those_of_torchvision(tmp_path):
    width, height, count = 100, 80, 1000
    rows, columns = np.mgrid[:height, :width]  # each pixel says where it was
    place = np.stack([2 * columns, 3 * rows, 0 * rows], axis=2).astype(np.uint8)
    image = Image.fromarray(place)
    crop_and_flip = v2.Compose(
        [v2.RandomResizedCrop(SIDE), v2.RandomHorizontalFlip(), v2.PILToTensor()]
    )
    torch.manual_seed(0)
    theirs = torch.stack([crop_and_flip(image) for _ in range(count)]).float()
    ours = many_views(fill(tmp_path, image), count)

    def describe(views: Tensor) -> dict[str, Tensor]:
        across = (views[:, 0, :, -1] - views[:, 0, :, 0]).mean(1) / 2
        down = (views[:, 1, -1] - views[:, 1, 0]).mean(1) / 3
        return {
            "area": across.abs() * down,
            "ratio": across.abs() / down,
            "column": views[:, 0].mean((1, 2)),
            "row": views[:, 1].mean((1, 2)),
            "flip": across.sign(),
        }

    for one, other in zip(describe(ours).values(), describe(theirs).values(), strict=True):
        assert_same_distribution(one, other)


def test_colours_are_as_often_as_those_of_torchvision(tmp_path):
    image, count = Image.new("RGB", (50, 40), (150, 90, 40)), 1000
    jitter = v2.Compose([v2.ColorJitter(0.4, 0.4, 0.4, 0.2), v2.PILToTensor()])
    torch.manual_seed(0)
    theirs = torch.stack([jitter(image)[:, 0, 0] for _ in range(count)]).float()
    plain = many_views(fill(tmp_path, image), 50)
    assert (plain[:, :, 0, 0].round() == torch.tensor([150, 90, 40])).all()
    ours = many_views(tmp_path, count, colours=True)[:, :, 0, 0]
    for channel in range(3):
        assert_same_distribution(ours[:, channel], theirs[:, channel])


def test_views_depend_on_seed_epoch_and_image_only(photos):
    expected = take(make_loader(load(photos).train_images, batch_size=4, colours=True), 5)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    for workers in (0, 1, 2):
        images = load(photos, workers=workers).train_images
        assert_same_batches(take(make_loader(images, batch_size=4, colours=True), 5), expected)
    assert torch.equal(torch.get_rng_state(), before)
    parts = [
        make_loader(images, batch_size=4, colours=True, share=(part, 2)).next() for part in (0, 1)
    ]
    whole = tuple(torch.cat(part) for part in zip(*parts, strict=True))
    assert_same_batches([whole], expected[:1])
    epochs = [torch.cat([images for images, _ in expected[start : start + 2]]) for start in (0, 2)]
    orders = [torch.cat([labels for _, labels in expected[start : start + 2]]) for start in (0, 2)]
    for label in set(orders[0].tolist()) & set(orders[1].tolist()):
        one, other = (e[o == label] for e, o in zip(epochs, orders, strict=True))
        assert not torch.equal(one, other)


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_a_restored_loader_gives_the_same_views(taken, photos):
    images = load(photos, workers=1).train_images
    loader = make_loader(images, batch_size=4, cutout=6)
    take(loader, taken)
    restored = make_loader(images, batch_size=4, cutout=6, seed=99)
    take(restored, 1)
    restored.load_state_dict(loader.state_dict())
    assert_same_batches(take(restored, 4), take(loader, 4))


def test_cutout_is_cut_out_of_views(tmp_path):
    views = many_views(fill(tmp_path, Image.new("RGB", (50, 40), (9, 9, 9))), 50, cutout=6)
    holes = (views == 0).sum((2, 3))
    assert (holes[:, 0] >= 9).all()
    assert (holes <= 36).all()
    assert (holes == 36).any()


def test_without_augmentation_batches_are_of_the_middle(photos):
    data = load(photos)
    loader = make_loader(data.train_images, batch_size=4, augment=False, shuffle=False)
    batch = loader.next()[0].round().to(torch.uint8)
    assert torch.equal(batch, data.train_images.read(torch.arange(4)))


def test_images_stay_in_their_files_and_are_normalised_by_their_middle(photos):
    data = load(photos, workers=None)
    assert isinstance(data.train_images, ViewsOfFiles)
    middle = data.train_images.read(torch.arange(11)).double() / 255
    assert data.mean == pytest.approx(middle.mean((0, 2, 3)).tolist(), rel=1e-9)


def test_a_part_of_the_images_keeps_its_seeds(photos):
    images = replace(load(photos).train_images, seeds=torch.arange(11))
    place = torch.tensor([2])
    assert torch.equal(images[torch.tensor([7, 4, 2])].read(place), images.read(place))
    assert torch.equal(images[2:].read(place), images.read(place + 2))
    assert not torch.equal(replace(images, seeds=images.seeds + 1).read(place), images.read(place))


def test_a_damaged_image_is_named(photos):
    path = photos / "train" / "ant" / "1.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=f"^{path}: damaged image"):
        take(make_loader(load(photos, workers=1).train_images, batch_size=4), 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augmentation": "crop"}, "augmentation: expected one of shift, imagenet, got 'crop'"),
        ({"image_size": None}, "image_size: expected a size, to which augmentation imagenet crops"),
    ],
)
def test_bad_options(options, message, photos):
    with pytest.raises(ValueError, match=message):
        load(photos, **options)


def test_other_data_have_no_views():
    with pytest.raises(ValueError, match=r"augmentation: expected shift with digits, .* imagenet"):
        load_dataset("digits", augmentation="imagenet")
