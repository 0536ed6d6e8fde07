"""Images in files, decoded when they are read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from adarts_ext.data.stored import StoredImages

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION = 0x0112  # EXIF's number; from 5 on width and height are exchanged


@dataclass(frozen=True, eq=False)
class ImagesInFiles(StoredImages):
    """Images that are decoded when they are read: grey where ``form`` has one channel, else RGB.

    They are upright where EXIF says how they were taken. Those of another size than that of
    ``form`` are scaled to cover it, and what lies beyond is cut off evenly.

    Args:
        folder: What holds the files.
        names: Paths in it of all images that there are, encoded: processes share an array,
            and would each copy a list of texts.
    """

    folder: Path
    names: np.ndarray

    @classmethod
    def of(
        cls, folder: Path, paths: list[Path], form: tuple[int, int, int], workers: int
    ) -> ImagesInFiles:
        """Take the files at these paths in a folder."""
        names = np.array([os.fsencode(path.relative_to(folder)) for path in paths])
        return cls(torch.arange(len(paths)), form, workers, folder, names)

    def read_at(self, index: Tensor) -> Tensor:
        """Decode the images of these numbers.

        Raises:
            ValueError: If one is damaged; the message names it.
            OSError: If a file cannot be opened.
        """
        return self.stack(_fit(self.decode(number), *self.form[1:]) for number in index.tolist())

    def decode(self, number: int) -> Image.Image:
        """Return one of all images upright, grey or RGB, as large as its file has it."""
        return _decode(self.folder / os.fsdecode(self.names[number]), self.form[0])

    def stack(self, images: Iterable[Image.Image]) -> Tensor:
        """Return images of height and width of ``form`` as (n, C, H, W) uint8."""
        channels, height, width = self.form
        pixels = [np.asarray(image).reshape(height, width, channels) for image in images]
        stacked = np.stack(pixels) if pixels else np.empty((0, height, width, channels), np.uint8)
        return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()


def _fit(image: Image.Image, height: int, width: int) -> Image.Image:
    from PIL import Image, ImageOps

    if image.size == (width, height):
        return image
    return ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)


def _decode(path: Path, channels: int) -> Image.Image:
    from PIL import ImageOps

    with open_image(path) as image:
        try:
            turned = orientation(image, path) > 1
            upright = ImageOps.exif_transpose(image) if turned else image
            return upright.convert("L" if channels == 1 else "RGB")
        except MemoryError:
            raise
        except Exception as error:  # each of PIL's decoders fails in its own ways
            raise ValueError(f"{path}: damaged image: {error}") from error


def orientation(image: Image.Image, path: Path) -> int:
    """Return how EXIF says that a photograph was taken, from 1 to 8; read from its header."""
    if image.format == "PNG" and "exif" not in image.info:  # PIL would read the pixels for it
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception as error:
        raise ValueError(f"{path}: damaged image: {error}") from error


def open_image(path: Path) -> Image.Image:
    """Open an image, of which only the header is read.

    Raises:
        ValueError: If it is none, has too many pixels or more than 8 bits a channel.
        OSError: If the file cannot be opened.
    """
    from PIL import Image

    try:
        image = Image.open(path)
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        if isinstance(error, Image.DecompressionBombError):
            raise ValueError(f"{path}: too many pixels: {error}") from error
        raise ValueError(f"{path}: not an image, or a damaged one") from error
    if image.mode.startswith(("I", "F")):
        image.close()
        raise ValueError(f"{path}: expected 8 bits a channel, got PIL mode {image.mode}")
    return image
