"""Search and retrain on a folder of one's own images, from Python.

    python examples/own_images.py photos --out runs/photos --epochs 80 --layers 8

``photos`` holds ``train/`` and ``test/``, each with one folder of images for every class. Without a
folder a small one is drawn first, rings and crosses, so the script runs as it stands.

Out come the genotype that the search found, a picture of its cells and the accuracy on the test
images of the network trained from it. Both runs are folders: TensorBoard shows their curves, and
``adarts evaluate`` and ``adarts export`` take the second one.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from PIL import Image, ImageDraw

from adarts_ext.draw import draw_genotype
from adarts_ext.retrain import RetrainConfig, retrain
from adarts_ext.search import SearchConfig, search


def main() -> None:
    """Make the two runs; what is not set here is as published."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="with train/ and test/ in it")
    parser.add_argument("--out", type=Path, default=Path("runs/own_images"), help="(%(default)s)")
    parser.add_argument("--image-size", type=int, default=32, help="pixels (%(default)s)")
    parser.add_argument("--channels", type=int, default=16, help="of the first cells (%(default)s)")
    parser.add_argument("--layers", type=int, default=5, help="cells (%(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="of each run (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="images (%(default)s)")
    options = parser.parse_args()
    folder = options.folder or draw_images(options.out / "images", options.image_size)

    both = {
        "dataset": "folder",
        "data_dir": str(folder),
        "image_size": options.image_size,
        "init_channels": options.channels,
        "layers": options.layers,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
    }
    gentle = {"cutout": options.image_size // 4, "drop_path_prob": 0.1}  # for a small network
    warmup = options.epochs // 4  # in which alphas and betas stay as they are
    found = search(SearchConfig(warmup_epochs=warmup, **both), options.out / "search")
    draw_genotype(found.genotype, options.out / "cells.png")
    trained = retrain(found.genotype, RetrainConfig(**both, **gentle), options.out / "network")

    print(f"genotype: {found.genotype.to_json()}")
    print(f"its cells: {options.out / 'cells.png'}")
    print(f"{trained.parameters:,} parameters, test accuracy {trained.test_accuracy_last:.2%}")


def draw_images(folder: Path, size: int) -> Path:
    """Draw rings and crosses, each at a place and in a colour of its own; return the folder."""
    draw = random.Random(0)
    for part, count in (("train", 200), ("test", 50)):
        for name in ("cross", "ring"):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                ground, colour = (
                    tuple(draw.randrange(darkest, darkest + 100) for _ in range(3))
                    for darkest in (0, 156)
                )
                image = Image.new("RGB", (size, size), ground)
                radius = draw.randint(size // 6, size // 3)
                x, y = (draw.randint(radius, size - 1 - radius) for _ in range(2))
                box = (x - radius, y - radius, x + radius, y + radius)
                pen = ImageDraw.Draw(image)
                if name == "ring":
                    pen.ellipse(box, outline=colour, width=3)
                else:
                    pen.line(box, fill=colour, width=3)
                    pen.line((box[0], box[3], box[2], box[1]), fill=colour, width=3)
                image.save(folder / part / name / f"{number}.png")
    return folder


if __name__ == "__main__":
    main()
