"""What images an exported network takes, and its classes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class InputImages:
    """What images a network takes, and what its logits stand for.

    Pixels from 0 to 1 are normalised channel by channel before the network sees them:
    ``(pixel - mean) / std``.

    Args:
        image_size: Height and width, in pixels.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
        class_names: The class of each logit; empty if they are not known.

    Raises:
        ValueError: If these are no two positive sizes, or no mean and deviation for each of one or
            more channels.

    Example:
        >>> images = InputImages((32, 32), mean=[0.5], std=[0.25], class_names=["cat", "dog"])
        >>> images.metadata()["class_names"], images.shape
        ('["cat", "dog"]', (1, 32, 32))
    """

    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("image_size", "mean", "std", "class_names"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise ValueError(f"image_size: expected height and width, got {self.image_size}")
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ValueError(
                "mean and std: expected one of each for every channel, the latter above 0, got "
                f"{self.mean} and {self.std}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image: channels, height, width."""
        return (len(self.mean), *self.image_size)

    def metadata(self) -> dict[str, str]:
        """Return the arguments by name, as JSON."""
        return {name: json.dumps(value) for name, value in asdict(self).items()}
