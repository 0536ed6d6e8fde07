"""Exporting a network."""

from __future__ import annotations

import copy
import importlib
import os
from pathlib import Path

import torch

from adarts_ext.arguments import naming
from adarts_ext.export.check import check_program
from adarts_ext.export.images import InputImages
from adarts_ext.extras import needing
from adarts_ext.files import write_atomic
from adarts_ext.genotype.operations import draws
from adarts_ext.nn import DerivedNetwork

#: The module that makes and loads each format; that of ONNX needs more packages.
FORMATS = {"onnx": "onnx_model", "torch-export": "torch_program"}


def export_network(
    network: DerivedNetwork, images: InputImages, to: str, path: str | os.PathLike[str]
) -> float:
    """Write a network for inference to a file that runs without this package.

    It computes in evaluation mode and float32, without the auxiliary head, and takes batches of any
    number of images. What was written is loaded and compared with the network on random images. The
    file's metadata are the arguments of :class:`InputImages` and ``genotype``, each as JSON: in
    ONNX ``metadata_props``, in torch.export ``extra_files``.

    Args:
        network: The network; it stays as it is.
        images: What images it takes.
        to: ``"onnx"``, or ``"torch-export"`` for what ``torch.export.load`` reads.
        path: The file; one that is there is replaced.

    Returns:
        The largest difference of a logit from the network's.

    Raises:
        ValueError: If the format is not known, the images do not fit the network, an operation
            draws random numbers, or the program computes something else
            (:func:`adarts_ext.export.check.check_program`).
        ModuleNotFoundError: If a package of the extra ``export`` is missing, which ONNX needs.
        OSError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> from adarts_ext.genotype import ADARTS_V1
        >>> network = DerivedNetwork(ADARTS_V1, init_channels=4, layers=1)
        >>> images = InputImages((16, 16), mean=[0.5] * 3, std=[0.25] * 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     difference = export_network(network, images, "torch-export", f"{folder}/net.pt2")
        >>> difference < 1e-5
        True
    """
    if to not in FORMATS:
        message = f"to: expected one of {', '.join(FORMATS)}, got {to!r}"
        raise naming(ValueError(message), "to")
    drawing = [op for op, _ in network.genotype.normal + network.genotype.reduce if draws(op)]
    if drawing:
        raise ValueError(
            f"genotype: expected operations whose result is always the same, got {drawing[0]}, "
            "which draws random numbers"
        )
    if len(images.mean) != network.in_channels:
        raise ValueError(
            f"mean: expected {network.in_channels} as the images have channels, got "
            f"{len(images.mean)}"
        )
    if len(images.class_names) not in (0, network.num_classes):
        raise ValueError(
            f"class_names: expected {network.num_classes} as the network has logits, got "
            f"{len(images.class_names)}"
        )
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder")
    with needing("export"):
        format_ = importlib.import_module(f"adarts_ext.export.{FORMATS[to]}")
    network = _for_inference(network)
    metadata = {"genotype": network.genotype.to_json(), **images.metadata()}
    # Traced on two images: one is taken for a constant.
    content = format_.to_bytes(network, torch.zeros(2, *images.shape), metadata)
    difference = check_program(format_.load(content), network, images.shape)
    write_atomic(path, lambda file: file.write(content))
    return difference


def _for_inference(network: DerivedNetwork) -> DerivedNetwork:
    """Copy a network to the CPU, in float32 and evaluation, without its auxiliary head."""
    network = copy.deepcopy(network)
    if network.auxiliary:
        network.auxiliary = False
        del network.auxiliary_head
    network.to("cpu", torch.float32, memory_format=torch.contiguous_format)
    return network.eval().requires_grad_(False)
