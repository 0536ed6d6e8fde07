"""Small image folders for tests: noise in two classes, dark and light."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_images(folder: Path, train: int, test: int, channels: int = 1) -> Path:
    """Write ``train`` and ``test`` images of 16x16 of each class; return the folder."""
    generator = np.random.default_rng(0)
    shape = (16, 16) if channels == 1 else (16, 16, channels)
    for part, count in (("train", train), ("test", test)):
        for name, darkest in (("dark", 0), ("light", 120)):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(darkest, darkest + 136, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    return folder
