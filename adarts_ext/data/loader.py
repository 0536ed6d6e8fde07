"""Batches made on the device, from images that live there or are brought there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from adarts_ext.data.stored import StoredImages
from adarts_ext.data.views import ViewsOfFiles


class BatchLoader:
    """Shuffled, augmented and normalised batches of images, made on the device from uint8.

    Iterating gives one epoch; :meth:`next` gives batches without end. Each epoch has an order
    and augmentations of its own. They are drawn for the whole epoch at once, by a generator on
    the CPU, so that they depend neither on the device nor on where the images are.

    A tensor of images is kept on the device. Stored images are read batch by batch, in the order
    of the epoch, by processes that are ahead of the batch that is asked for.

    An augmented image is the image shifted by up to ``padding`` pixels each way, with zeros
    coming in, mirrored half of the time where ``flip`` is set, normalised, and then set to zero
    in a square of side ``cutout`` whose centre is anywhere in the image (DeVries and Taylor,
    arXiv 1708.04552). Of :class:`~adarts_ext.data.views.ViewsOfFiles` it is a random view, made
    where the image is decoded from a seed in the epoch's plan, in place of shift and mirroring.

    Args:
        images: (N, C, H, W) uint8, or stored ones that stand for it.
        labels: (N,) int64.
        batch_size: Images in a batch.
        mean: Mean of each channel, with pixel values in [0, 1].
        std: Standard deviation of each channel, likewise.
        augment: Whether to augment images; without it a batch is only normalised.
        flip: Whether mirroring is among the augmentations.
        padding: Largest shift, in pixels.
        colours: Whether random views have other colours too.
        cutout: Side of the square that is cut out, in pixels; 0 for none.
        device: Where the batches are made.
        seed: Seed of the order and of the augmentations.
        shuffle: Whether each epoch has a fresh order; without it images come as they lie.
        drop_last: Whether to leave out the last batch of an epoch when it is not full.
        share: Which part of every batch is made, counted from 0, and of how many: those of several
            processes together are the batch of one.

    Raises:
        ValueError: If shapes or sizes do not fit together.

    Example:
        >>> images, labels = torch.zeros(10, 3, 8, 8, dtype=torch.uint8), torch.arange(10)
        >>> loader = BatchLoader(images, labels, 4, mean=(0.5,) * 3, std=(0.5,) * 3, augment=True,
        ...                      flip=True, padding=1, cutout=4, device="cpu", seed=0)
        >>> len(loader), [tuple(batch.shape) for batch, _ in loader]
        (2, [(4, 3, 8, 8), (4, 3, 8, 8)])
        >>> batch, batch_labels = loader.next()
        >>> batch.dtype, batch_labels.shape
        (torch.float32, torch.Size([4]))
    """

    def __init__(
        self,
        images: Tensor | StoredImages,
        labels: Tensor,
        batch_size: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        augment: bool,
        flip: bool,
        padding: int,
        colours: bool = False,
        cutout: int = 0,
        device: torch.device | str,
        seed: int,
        shuffle: bool = True,
        drop_last: bool = True,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        if images.ndim != 4 or images.dtype != torch.uint8 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"images must be (N, C, H, W) uint8 and labels (N,), "
                f"got {tuple(images.shape)} {images.dtype} and {tuple(labels.shape)}"
            )
        count, channels, height, width = images.shape
        if len(mean) != channels or len(std) != channels:
            raise ValueError(
                f"mean and std must have {channels} values each, got {len(mean)} and {len(std)}"
            )
        if batch_size < 1 or (drop_last and batch_size > count):
            raise ValueError(f"batch size must be from 1 to the {count} images, got {batch_size}")
        if not 0 <= share[0] < share[1] or batch_size % share[1]:
            raise ValueError(
                f"share must be (part, parts), parts a divisor of {batch_size}, got {share}"
            )
        if padding < 0:
            raise ValueError(f"padding must be at least 0, got {padding}")
        if not 0 <= cutout <= min(height, width):
            raise ValueError(
                f"cutout must be from 0 to the image's size, {min(height, width)}, got {cutout}"
            )
        self.images = images if isinstance(images, StoredImages) else images.to(device)
        self.labels = labels.to(device)
        self.device = self.labels.device
        self.batch_size = batch_size
        self.augment = augment
        self.flip = flip
        self.padding = padding
        self.colours = colours
        self.cutout = cutout
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.share = share
        # (x / 255 - mean) / std as (x - 255 mean) / (255 std), so that x stays exact.
        mean64, std64 = (torch.tensor(part, dtype=torch.float64) for part in (mean, std))
        self._mean = (255 * mean64).float().reshape(1, -1, 1, 1).to(device)
        self._std = (255 * std64).float().reshape(1, -1, 1, 1).to(device)
        self._rows = torch.arange(height, device=device)
        self._columns = torch.arange(width, device=device)
        self._generator = torch.Generator().manual_seed(seed)
        self._begin_epoch()

    @classmethod
    def in_order(
        cls,
        images: Tensor | StoredImages,
        labels: Tensor,
        batch_size: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str,
        share: tuple[int, int] = (0, 1),
    ) -> BatchLoader:
        """Make a loader of all images, as they are and in their order; arguments as above."""
        return cls(
            images,
            labels,
            batch_size,
            mean=mean,
            std=std,
            augment=False,
            flip=False,
            padding=0,
            device=device,
            seed=0,
            shuffle=False,
            drop_last=False,
            share=share,
        )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        full, rest = divmod(len(self.images), self.batch_size)
        return full if self.drop_last or rest == 0 else full + 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of a fresh epoch."""
        if self._position > 0:
            self._begin_epoch()
        while self._position < len(self):
            yield self.next()

    def next(self) -> tuple[Tensor, Tensor]:
        """Return the next batch, beginning a new epoch when the last one is used up.

        Returns:
            (N, C, H, W) float32 images and (N,) int64 labels, on the device; of the batch's images
            those of this share.
        """
        if self._position == len(self):
            self._begin_epoch()
        plan = self._part(self._plan, self._position)
        index = plan[0]
        images = self._read(index)
        self._position += 1
        if self.augment and not isinstance(self.images, ViewsOfFiles):
            images = self._shift_and_flip(images, plan)
        # Strides of one layout only: those of one channel may be those of channels_last too, and
        # torch's sums would end in other bits.
        images = images.flatten().view(images.shape)
        images = images.float().sub_(self._mean).div_(self._std)
        if self.augment and self.cutout > 0:
            images.masked_fill_(self._cutout_mask(plan), 0)
        return images, self.labels[index]

    def state_dict(self) -> dict[str, Any]:
        """Return what a loader made alike needs to go on with the same batches."""
        return {"generator": self._epoch_start, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the loader was whose :meth:`state_dict` is given."""
        self._generator.set_state(state["generator"])
        self._begin_epoch()
        self._position = state["position"]

    def _begin_epoch(self) -> None:
        """Make the epoch's plan: a column an image with index, shift, flip, and cutout's centre.

        In place of shift and flip, views of files get a seed each.
        """
        self._epoch_start = self._generator.get_state()
        self._position = 0
        count, _, height, width = self.images.shape

        def draw(high: int) -> Tensor:
            return torch.randint(high, (count,), generator=self._generator)

        if self.shuffle:
            index = torch.randperm(count, generator=self._generator)
        else:
            index = torch.arange(count)
        plan, self._views = [index], self.images
        if self.augment:
            if isinstance(self.images, ViewsOfFiles):
                self._views = replace(self.images, seeds=draw(2**32), colours=self.colours)
            else:
                shifts = 2 * self.padding + 1
                plan += [draw(shifts), draw(shifts), draw(2)]
            plan += [draw(height), draw(width)]
        self._plan = torch.stack(plan).to(self.device)
        self._stored: Iterator[Tensor] | None = None  # the batches that are read ahead

    def _part(self, plan: Tensor, position: int) -> Tensor:
        """Return the columns of a batch, of which those of this share."""
        start = position * self.batch_size
        place, parts = self.share
        batch = plan[..., start : start + self.batch_size]
        return batch.tensor_split(parts, dim=-1)[place]

    def _read(self, index: Tensor) -> Tensor:
        """Return the images of the batch that is next, as (n, C, H, W) uint8 on the device."""
        if isinstance(self._views, Tensor):
            return self._views[index]
        if self._stored is None:
            order = self._plan[0].cpu()
            batches = [self._part(order, place) for place in range(self._position, len(self))]
            self._stored = self._views.batches(batches, pin_memory=self.device.type == "cuda")
        images = next(self._stored)
        if self._position + 1 == len(self):
            self._stored = None  # which ends its processes
        return images.to(self.device, non_blocking=True)

    def _shift_and_flip(self, images: Tensor, plan: Tensor) -> Tensor:
        down, right, mirrored = (part.unsqueeze(1) for part in plan[1:4])
        rows, columns = self._rows + down, self._columns + right
        if self.flip:
            columns = torch.where(mirrored == 1, columns.flip(1), columns)
        padded = nn.functional.pad(images, (self.padding,) * 4)
        batch = torch.arange(len(images), device=images.device)
        # One gather does both; it leaves the channels last, so they are moved back.
        picked = padded[batch[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return picked.permute(0, 3, 1, 2).contiguous()

    def _cutout_mask(self, plan: Tensor) -> Tensor:
        """Return (N, 1, H, W), True in the square; one over the border loses what lies outside."""
        top, left = (centre.unsqueeze(1) - self.cutout // 2 for centre in plan[-2:])
        rows = (self._rows >= top) & (self._rows < top + self.cutout)
        columns = (self._columns >= left) & (self._columns < left + self.cutout)
        return (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)
