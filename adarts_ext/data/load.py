"""The data sets by name."""

from __future__ import annotations

from pathlib import Path

from adarts_ext.arguments import naming
from adarts_ext.data.cifar import CIFAR10, CIFAR100, load_cifar
from adarts_ext.data.dataset import ImageDataset
from adarts_ext.data.digits import load_digits
from adarts_ext.data.folder import load_folder
from adarts_ext.data.idx import FASHION_MNIST, MNIST, load_idx

#: Those that are published as files, by name.
CIFAR = {layout.name: layout for layout in (CIFAR10, CIFAR100)}
IDX = {layout.name: layout for layout in (FASHION_MNIST, MNIST)}
DATASETS = ("digits", *IDX, *CIFAR, "folder")

#: How training images are augmented: by small shifts, or as ImageNet by random crops.
AUGMENTATIONS = ("shift", "imagenet")


def load_dataset(
    name: str,
    data_dir: str | None = None,
    download: bool = False,
    image_size: int | None = None,
    workers: int | None = None,
    augmentation: str = "shift",
) -> ImageDataset:
    """Load a data set whole into memory; a large image folder stays in its files.

    Args:
        name: One of ``DATASETS``. ``digits`` comes with scikit-learn and needs no file;
            ``folder`` is an image folder of one's own, see
            :func:`adarts_ext.data.folder.load_folder`.
        data_dir: The folder that holds the files of a published data set (by default ``data``;
            for Fashion-MNIST also where its Debian package has them), or the image folder itself.
        download: Fetch a published data set into ``data_dir`` when it is not there.
        image_size: Side of the square images to make of ``digits`` (by default 16) or of a
            ``folder`` (by default the size that all its images have).
        workers: None, or how many processes read the images of a ``folder``, which then stay in
            their files in any case.
        augmentation: One of :data:`AUGMENTATIONS`; with ``"imagenet"`` a ``folder`` stays in its
            files, of which views are taken, see :class:`adarts_ext.data.views.ViewsOfFiles`.

    Raises:
        ValueError: If a name is unknown, the data set has no use for an option, or its files are
            damaged.
        FileNotFoundError: If the data are not there.

    Example:
        >>> data = load_dataset("digits")
        >>> data.train_images.shape, data.num_classes
        (torch.Size([1500, 1, 16, 16]), 10)
    """
    if name not in DATASETS:
        message = f"dataset: expected one of {', '.join(DATASETS)}, got {name!r}"
        raise naming(ValueError(message), "dataset")
    if augmentation not in AUGMENTATIONS:
        message = f"augmentation: expected one of {', '.join(AUGMENTATIONS)}, got {augmentation!r}"
        raise naming(ValueError(message), "augmentation")
    check_needed(name, data_dir, download, image_size, augmentation)
    if name == "folder":
        if data_dir is None:
            message = "folder: data_dir must name the folder that holds train/ and test/"
            raise naming(ValueError(message), "data_dir")
        return load_folder(Path(data_dir), image_size, workers, views=augmentation == "imagenet")
    if name == "digits":
        return load_digits() if image_size is None else load_digits(image_size)
    if name in IDX:
        return load_idx(IDX[name], None if data_dir is None else Path(data_dir), download)
    return load_cifar(CIFAR[name], Path(data_dir or "data"), download)


def check_needed(
    name: str,
    data_dir: str | None,
    download: bool,
    image_size: int | None,
    augmentation: str = "shift",
) -> None:
    """Refuse the options of :func:`load_dataset` that a data set has no use for.

    Raises:
        ValueError: If there is one.

    Example:
        >>> check_needed("digits", "photos", False, None)
        Traceback (most recent call last):
        ...
        ValueError: data_dir: expected none, as the digits come with scikit-learn, got photos
    """
    if name == "digits" and data_dir is not None:
        message = f"data_dir: expected none, as the digits come with scikit-learn, got {data_dir}"
        raise naming(ValueError(message), "data_dir")
    published = (*IDX, *CIFAR)
    if download and name not in published:
        message = f"download: expected no, as {name} is not fetched from anywhere, got yes"
        raise naming(ValueError(message), "download")
    if augmentation == "imagenet" and name != "folder":
        message = (
            f"augmentation: expected shift with {name}, as imagenet takes crops of the images of a "
            "folder, got imagenet"
        )
        raise naming(ValueError(message), "augmentation")
    if augmentation == "imagenet" and image_size is None:
        message = "image_size: expected a size, to which augmentation imagenet crops, got none"
        raise naming(ValueError(message), "image_size", "augmentation")
    side = 28 if name in IDX else 32
    if name in published and image_size not in (None, side):
        message = f"{name}: its images are {side} pixels wide, got image_size {image_size}"
        raise naming(ValueError(message), "image_size")
