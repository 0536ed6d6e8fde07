"""Views of large images, as networks for ImageNet see them: random crops, and the middle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adarts_ext.data.image_files import ImagesInFiles

if TYPE_CHECKING:
    from PIL import Image
    from torchvision.transforms import v2


@dataclass(frozen=True, eq=False)
class ViewsOfFiles(ImagesInFiles):
    """Square views of images in files of any size: random ones with ``seeds``, else the middle.

    Args:
        seeds: (N,) int64, from which what is random of each view is drawn.
        colours: Whether colours change in random views.
    """

    seeds: Tensor | None = None
    colours: bool = False

    def __getitem__(self, chosen: Tensor | slice) -> ViewsOfFiles:
        seeds = None if self.seeds is None else self.seeds[chosen]
        return replace(self, index=self.index[chosen], seeds=seeds)

    def read(self, chosen: Tensor) -> Tensor:
        """Return the views at these places as (n, C, H, W) uint8."""
        if self.seeds is None:
            return super().read(chosen)
        pairs = zip(self.index[chosen].tolist(), self.seeds[chosen].tolist(), strict=True)
        return self.stack(
            random_view(self.decode(number), self.form[1], seed, self.colours)
            for number, seed in pairs
        )

    def read_at(self, index: Tensor) -> Tensor:
        """Return the middle of the images of these numbers."""
        return self.stack(central_view(self.decode(n), self.form[1]) for n in index.tolist())


def central_view(image: Image.Image, side: int) -> Image.Image:
    """Return the middle of an image: its shorter side scaled to 8/7 of ``side``, then a square.

    At 224 that is the middle of an image whose shorter side is 256, as DARTS tests on ImageNet.

    Example:
        >>> from PIL import Image
        >>> central_view(Image.new("RGB", (500, 375)), 224).size
        (224, 224)
    """
    return _central_transform(side)(image)


def random_view(image: Image.Image, side: int, seed: int, colours: bool) -> Image.Image:
    """Return a random crop of an image, scaled to ``side`` and mirrored half of the time.

    The crop has 8 % to all of the image's area, and is 3/4 to 4/3 as wide as high (Inception,
    arXiv 1409.4842). With ``colours`` brightness, contrast and saturation change by up to 0.4 and
    the hue by up to 0.2, as DARTS trains on ImageNet. The transforms are torchvision's.

    Args:
        image: The image, of any size.
        side: Height and width of the view.
        seed: What is drawn depends on it alone; torch's own generators stay as they are.
        colours: Whether colours change.

    Example:
        >>> from PIL import Image
        >>> random_view(Image.new("RGB", (500, 375)), 224, seed=0, colours=True).size
        (224, 224)
    """
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch GPUs' too
        return _random_transform(side, colours)(image)


@cache
def _central_transform(side: int) -> v2.Transform:
    from torchvision.transforms import v2

    return v2.Compose([v2.Resize(round(side * 8 / 7)), v2.CenterCrop(side)])


@cache
def _random_transform(side: int, colours: bool) -> v2.Transform:
    from torchvision.transforms import v2

    steps: list[v2.Transform] = [v2.RandomResizedCrop(side), v2.RandomHorizontalFlip()]
    if colours:
        steps.append(v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2))
    return v2.Compose(steps)
