"""Exporting the network of a run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch

from adarts_ext.export.images import InputImages
from adarts_ext.export.network import export_network
from adarts_ext.genotype import Genotype
from adarts_ext.retrain.config import RetrainConfig
from adarts_ext.retrain.cost import ImageKind
from adarts_ext.retrain.trained import trained_network
from adarts_ext.runs.checkpoint import load_newest
from adarts_ext.runs.data_record import load_images_record
from adarts_ext.runs.folder import GENOTYPE_FILE


def export_run(run_folder: str | Path, to: str, path: str | os.PathLike[str]) -> float:
    """Export the network of a retrain run as its last checkpoint holds it.

    Of a run with ``ema_decay`` it is the averaged network. Its data need not be there.

    Args:
        run_folder: The folder of a run of :func:`adarts_ext.retrain.retrain`, ended or not.
        to: As in :func:`adarts_ext.export.export_network`.
        path: Likewise.

    Returns:
        The largest difference of a logit from the network's on random images.

    Raises:
        ValueError: If the folder holds a run of another kind, one that an earlier version began, or
            a damaged file; or as :func:`adarts_ext.export.export_network` says.
        FileNotFoundError: If the folder holds no run or no checkpoint.
        ModuleNotFoundError, OSError: As :func:`adarts_ext.export.export_network` says.
    """
    folder = Path(run_folder)
    config = replace(RetrainConfig.load(folder), precision="fp32")
    genotype = Genotype.load(folder / GENOTYPE_FILE)
    checkpoint, checkpoint_file = load_newest(folder, "retrain")
    images = InputImages(**load_images_record(folder))
    kind = ImageKind(len(images.mean), images.image_size, len(images.class_names))
    network = trained_network(
        genotype, config, kind, torch.device("cpu"), checkpoint, checkpoint_file
    )
    return export_network(network, images, to, path)
