from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from adarts_ext.data import load_dataset


def write_image(path, size=(12, 10), mode="RGB", seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    shape = (height, width) if mode == "L" else (height, width, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def colour(tmp_path):
    """Two classes; three training images and one test image each, 12 wide and 10 high."""
    seed = 0
    for part, count in (("train", 3), ("test", 1)):
        for name in ("bee", "ant"):
            for number in range(count):
                write_image(tmp_path / part / name / f"{number}.png", seed=seed)
                seed += 1
    return tmp_path


def load(folder, image_size=None):
    return load_dataset("folder", str(folder), image_size=image_size)


def test_colour_images(colour):
    data = load(colour)
    assert data.class_names == ("ant", "bee")
    assert data.train_images.shape == (6, 3, 10, 12)
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test_labels.tolist() == [0, 1]
    assert (data.image_size, data.in_channels, data.flip) == ((10, 12), 3, True)
    pixels = np.asarray(Image.open(colour / "train" / "bee" / "1.png"))
    assert np.array_equal(data.train_images[4].permute(1, 2, 0).numpy(), pixels)


def test_grey_images_keep_one_channel(tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            pixels = write_image(tmp_path / part / name / "0.png", mode="L")
    data = load(tmp_path)
    assert data.in_channels == 1
    assert np.array_equal(data.test_images[1, 0].numpy(), pixels)


def test_one_colour_image_makes_all_of_them_colour(colour):
    pixels = write_image(colour / "test" / "bee" / "grey.png", mode="L")
    data = load(colour)
    assert data.in_channels == 3
    assert np.array_equal(data.test_images[2].numpy(), np.stack([pixels] * 3))


def test_images_with_a_palette_are_colour(tmp_path):
    for part in ("train", "test"):
        path = tmp_path / part / "a" / "0.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8), (200, 0, 0)).quantize(4).save(path)
    data = load(tmp_path)
    assert data.train_images[0, :, 0, 0].tolist() == [200, 0, 0]


def test_unequal_sizes_ask_for_one(colour):
    write_image(colour / "train" / "bee" / "9.png", size=(20, 10))
    with pytest.raises(ValueError, match="image_size") as caught:
        load(colour)
    message = str(caught.value)
    assert "12x10" in message
    assert "20x10" in message
    assert str(colour / "train" / "bee" / "9.png") in message
    assert str(colour / "train" / "ant" / "0.png") in message
    assert "\n" not in message


def test_image_size_makes_all_images_square(colour):
    write_image(colour / "train" / "bee" / "9.png", size=(40, 30))
    data = load(colour, image_size=16)
    assert data.train_images.shape == (7, 3, 16, 16)


def test_image_size_cuts_the_longer_side_evenly(tmp_path):
    stripes = np.zeros((8, 16, 3), dtype=np.uint8)
    stripes[:, :4], stripes[:, 12:] = 50, 100  # what lies beyond the middle square
    stripes[:, 4:12] = 200
    for part in ("train", "test"):
        path = tmp_path / part / "a" / "0.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(stripes).save(path)
    data = load(tmp_path, image_size=8)
    assert torch.equal(data.train_images, torch.full_like(data.train_images, 200))


@pytest.mark.parametrize("keep", [0, 30, 0.6])
def test_corrupt_image_is_named(colour, keep):
    path = colour / "train" / "bee" / "1.png"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(ValueError, match="damaged") as caught:
        load(colour)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_out_of_memory_is_not_taken_for_damage(colour, monkeypatch):
    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(MemoryError):
        load(colour)


def test_text_that_pretends_to_be_an_image(colour):
    path = colour / "test" / "ant" / "9.jpg"
    path.write_text("hello")
    with pytest.raises(ValueError, match="not an image"):
        load(colour)


def test_sixteen_bit_images_are_refused(colour):
    path = colour / "test" / "ant" / "9.png"
    Image.fromarray(np.zeros((10, 12), dtype=np.uint16)).save(path)
    with pytest.raises(ValueError, match="expected 8 bits a channel, got PIL mode I") as caught:
        load(colour)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("train", "class 'cow' is in train/ but not in test/"),
        ("test", "class 'cow' is in test/ but not in train/"),
    ],
)
def test_classes_must_agree(colour, part, message):
    write_image(colour / part / "cow" / "0.png")
    with pytest.raises(ValueError, match=message):
        load(colour)


def test_missing_part(tmp_path):
    write_image(tmp_path / "train" / "a" / "0.png")
    with pytest.raises(FileNotFoundError, match="train/ and test/") as caught:
        load(tmp_path)
    assert str(tmp_path / "test") in str(caught.value)


def test_class_without_images(colour):
    for part in ("train", "test"):
        (colour / part / "cow").mkdir()
    with pytest.raises(FileNotFoundError, match="no image in this folder") as caught:
        load(colour)
    assert str(caught.value).startswith(f"{colour / 'train' / 'cow'}: ")
    assert "\n" not in str(caught.value)
    write_image(colour / "train" / "cow" / "0.png")
    with pytest.raises(FileNotFoundError, match="test/cow: no image in this folder"):
        load(colour)


def test_part_without_classes(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(FileNotFoundError, match="train") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_folder_must_be_named():
    with pytest.raises(ValueError, match="data_dir"):
        load_dataset("folder")


@pytest.mark.parametrize("image_size", [0, -3])
def test_image_size_must_be_positive(colour, image_size):
    with pytest.raises(ValueError, match="at least 1"):
        load(colour, image_size=image_size)


def test_hidden_files_and_folders_are_no_images_and_no_classes(colour):
    expected = load(colour)
    (colour / "train" / "bee" / "._0.png").write_bytes(b"not an image")
    write_image(colour / "train" / ".ipynb_checkpoints" / "0.png")
    write_image(colour / "train" / "bee" / ".thumbnails" / "0.png")
    (colour / "test" / ".DS_Store").write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load(colour)
    assert data.class_names == expected.class_names
    assert torch.equal(data.train_images, expected.train_images)


def test_files_that_are_skipped_are_counted(colour):
    for number in range(2):
        (colour / "train" / "ant" / f"{number}.gif").write_bytes(b"")
    (colour / "train" / "ant" / "labels.csv").write_bytes(b"")
    with pytest.warns(UserWarning, match="3 of 9 files are skipped") as caught:
        assert len(load(colour).train_images) == 6
    assert "2 .gif, 1 .csv" in str(caught[0].message)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_read_upright(tmp_path, orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    upright = Image.fromarray(pixels)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    for part in ("train", "test"):
        path = tmp_path / part / "a" / "0.png"
        path.parent.mkdir(parents=True)
        taken = upright.transpose(undo[orientation]) if orientation > 1 else upright
        taken.save(path, exif=exif)
        write_image(tmp_path / part / "a" / "1.png")  # of the upright size
    data = load(tmp_path)
    assert np.array_equal(data.train_images[0].permute(1, 2, 0).numpy(), pixels)


def test_too_many_pixels_are_called_that(colour, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(ValueError, match=r"0\.png: too many pixels"):
        load(colour)
