"""The options of retraining."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from adarts_ext.data import DATASETS
from adarts_ext.files import CONFIG_FILE, GENOTYPE_FILE, read_options, write_json
from adarts_ext.genotype import Genotype
from adarts_ext.training import check_range


@dataclass
class RetrainConfig:
    """How a derived network is trained. The defaults are those published for CIFAR.

    Args:
        dataset: the data set: digits, cifar10, cifar100 or folder.
        data_dir: the folder with the data set's files ("data" by default for CIFAR), or the image
            folder itself.
        download: fetch CIFAR when it is not in data_dir.
        image_size: side of the images in pixels, for digits (16 by default) and folder (as they
            are by default).
        device: auto (CUDA where there is one, else the CPU), cpu, cuda or cuda:<number>.
        seed: seed of the initial weights, the order of the images, augmentation and drop path.
        init_channels: channels of the first cells.
        layers: number of cells.
        epochs: passes over the training images.
        batch_size: images in a batch.
        learning_rate: learning rate at the start.
        learning_rate_min: learning rate at the end of the cosine.
        momentum: momentum of SGD.
        weight_decay: weight decay of SGD.
        grad_clip: largest norm of the gradient of all weights together.
        cutout: side in pixels of the square cut out of training images; by default half of the
            image's shorter side, 16 for images of 32x32; 0 for none.
        drop_path_prob: probability to drop a path at the end of training; it rises linearly from 0.
        auxiliary: train with an auxiliary head two thirds of the way through the network.
        auxiliary_weight: weight of the auxiliary head's loss.
        augment: shift, mirror (where the data set allows it) and cut out training images.

    Raises:
        ValueError: a value is out of its range.

    Example:
        >>> RetrainConfig(epochs=100).batch_size
        96
        >>> RetrainConfig(epochs=0)
        Traceback (most recent call last):
        ...
        ValueError: epochs: expected at least 1, got 0
    """

    dataset: str = "digits"
    data_dir: str | None = None
    download: bool = False
    image_size: int | None = None
    device: str = "auto"
    seed: int = 0
    init_channels: int = 36
    layers: int = 20
    epochs: int = 600
    batch_size: int = 96
    learning_rate: float = 0.025
    learning_rate_min: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 3e-4
    grad_clip: float = 5.0
    cutout: int | None = None
    drop_path_prob: float = 0.3
    auxiliary: bool = True
    auxiliary_weight: float = 0.4
    augment: bool = True

    def __post_init__(self) -> None:
        if self.dataset not in DATASETS:
            known = ", ".join(DATASETS)
            raise ValueError(f"dataset: expected one of {known}, got {self.dataset!r}")
        check_range("seed", self.seed, 0, 2**63 - 1)
        for name in ("init_channels", "layers", "epochs", "batch_size"):
            check_range(name, getattr(self, name), 1)
        for name in ("learning_rate", "grad_clip"):
            check_range(name, getattr(self, name), 0, above=True)
        for name in ("learning_rate_min", "weight_decay", "auxiliary_weight"):
            check_range(name, getattr(self, name), 0)
        for name in ("momentum", "drop_path_prob"):
            check_range(name, getattr(self, name), 0, 1)
        for name in ("image_size", "cutout"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 1 if name == "image_size" else 0)


def save_run(folder: Path, genotype: Genotype, config: RetrainConfig) -> None:
    """Write what a run trains and how into its folder.

    Raises:
        OSError: a file cannot be written.
    """
    write_json(folder / CONFIG_FILE, {"kind": "retrain", **asdict(config)})
    genotype.save(folder / GENOTYPE_FILE)


def load_run(folder: Path) -> tuple[Genotype, RetrainConfig]:
    """Read what a run trains and how from its folder.

    Raises:
        FileNotFoundError: there is no run in the folder.
        ValueError: the run is of another kind or one of several seeds, or a file is damaged.
    """
    seeds = sorted(found.parent for found in folder.glob(f"seed-*/{CONFIG_FILE}"))
    if seeds and not (folder / CONFIG_FILE).is_file():
        raise ValueError(f"{folder}: holds a run for each seed; name one, such as {seeds[0]}")
    config = read_options(folder, "retrain", RetrainConfig)
    return Genotype.load(folder / GENOTYPE_FILE), config
