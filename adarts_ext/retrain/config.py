"""The options of retraining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from adarts_ext.arguments import naming
from adarts_ext.nn import DerivedNetwork
from adarts_ext.runs.options import RunConfig, check_range, defaults_of, one_of
from adarts_ext.runs.schedule import SCHEDULES

NETWORK = defaults_of(DerivedNetwork)
MEMORY_FORMATS = ("contiguous", "channels_last")


@dataclass(frozen=True)
class RetrainConfig(RunConfig):
    """How a derived network is trained: what :class:`RunConfig` says, and the following.

    The defaults are those published for CIFAR.

    Args:
        init_channels: channels of the first cells.
        layers: number of cells.
        epochs: passes over the training images.
        batch_size: images in a batch.
        learning_rate: learning rate at the start.
        learning_rate_min: learning rate at the end of the schedule.
        schedule: how the learning rate falls, epoch by epoch: cosine (half of one) or linear.
        lr_warmup_epochs: in how many of the first epochs the learning rate is only a part of that:
            one of as many parts in the first, two in the second and so on.
        momentum: momentum of SGD.
        weight_decay: weight decay of SGD.
        grad_clip: largest norm of the gradient of all weights together.
        cutout: side in pixels of the square cut out of training images; by default half of the
            image's shorter side, 16 for images of 32x32, but 0 with augmentation imagenet; 0 for
            none.
        drop_path_prob: probability to drop a path at the end of training; it rises linearly from 0.
        auxiliary: train with an auxiliary head two thirds of the way through the network.
        auxiliary_weight: weight of the auxiliary head's loss.
        test_every: test the network after every so many epochs, and after the last one.
        augment: shift, mirror (where the data set allows it) and cut out training images; with
            augmentation imagenet crop and mirror them, and change their colours.
        label_smoothing: part of a label's weight that is spread over all classes in training.
        ema_decay: decay of a moving average of the weights and statistics, updated after every
            step, which is then what is tested; 0 for none.
        memory_format: how feature maps lie in memory: contiguous (NCHW) or channels_last, in which
            torch's sums in float32 on a CPU are less exact.
        compile: compile the cells by torch.compile for the passes that train them, which takes
            minutes first and needs a C++ compiler (on a GPU Triton).

    Raises:
        ValueError: If a value is out of its range.

    Example:
        >>> RetrainConfig(epochs=100).batch_size
        96
        >>> RetrainConfig(epochs=0)
        Traceback (most recent call last):
        ...
        ValueError: epochs: expected at least 1, got 0
    """

    kind: ClassVar[str] = "retrain"

    init_channels: int = NETWORK["init_channels"]
    layers: int = NETWORK["layers"]
    epochs: int = 600
    batch_size: int = 96
    learning_rate: float = 0.025
    learning_rate_min: float = 0.0
    schedule: str = one_of("cosine", SCHEDULES)
    lr_warmup_epochs: int = 0
    momentum: float = 0.9
    weight_decay: float = 3e-4
    grad_clip: float = 5.0
    cutout: int | None = None
    drop_path_prob: float = 0.3
    auxiliary: bool = NETWORK["auxiliary"]
    auxiliary_weight: float = 0.4
    test_every: int = 1
    augment: bool = True
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    memory_format: str = one_of("contiguous", MEMORY_FORMATS)
    compile: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("init_channels", "layers", "epochs", "batch_size", "test_every"):
            check_range(name, getattr(self, name), 1)
        for name in ("learning_rate", "grad_clip"):
            check_range(name, getattr(self, name), 0, above=True)
        for name in ("learning_rate_min", "weight_decay", "auxiliary_weight"):
            check_range(name, getattr(self, name), 0)
        check_range("lr_warmup_epochs", self.lr_warmup_epochs, 0, self.epochs)
        for name in ("momentum", "drop_path_prob"):
            check_range(name, getattr(self, name), 0, 1)
        for name in ("label_smoothing", "ema_decay"):
            value = getattr(self, name)
            check_range(name, value, 0, 1)
            if value == 1:
                raise naming(ValueError(f"{name}: expected less than 1, got {value}"), name)
        if self.cutout is not None:
            check_range("cutout", self.cutout, 0)
        if self.auxiliary and self.batch_size == 1:
            message = "batch_size: expected at least 2 with the auxiliary head, got 1"
            raise naming(ValueError(message), "batch_size")

    def without_effect(self) -> dict[str, str]:
        """Return the options that others leave without an effect, each with the reason."""
        found = {}
        if not self.auxiliary and self.auxiliary_weight:
            found["auxiliary_weight"] = "the network has no auxiliary head with auxiliary off"
        if not self.augment and self.cutout:
            found["cutout"] = "training images are taken as they are with augment off"
        return found


#: Published settings; what is not named is as in :class:`RetrainConfig`.
RECIPES = {
    "published": RetrainConfig(),  # of ADARTS, arXiv 2208.00791
    "darts": RetrainConfig(drop_path_prob=0.2),  # arXiv 1806.09055, appendix A.2
    "imagenet": RetrainConfig(  # of PC-DARTS, arXiv 1907.05737, section 4.3
        dataset="folder",
        image_size=224,
        augmentation="imagenet",
        stem="imagenet",
        init_channels=48,
        layers=14,
        epochs=250,
        batch_size=1024,
        learning_rate=0.5,
        schedule="linear",
        lr_warmup_epochs=5,
        weight_decay=3e-5,
        drop_path_prob=0.0,
        label_smoothing=0.1,
    ),
}
