"""Testing a trained network."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from adarts_ext.genotype import Genotype
from adarts_ext.retrain.build import make_test_loader
from adarts_ext.retrain.config import RetrainConfig
from adarts_ext.retrain.cost import network_cost
from adarts_ext.retrain.trained import trained_network
from adarts_ext.runs.checkpoint import load_newest
from adarts_ext.runs.data import Given, load_data
from adarts_ext.runs.data_record import CLASSES_CHANGED, changed_data
from adarts_ext.runs.device import resolve_device
from adarts_ext.runs.folder import GENOTYPE_FILE
from adarts_ext.runs.metrics import evaluate_network


def evaluate(
    run_folder: str | Path,
    data_dir: str | None = None,
    download: bool = False,
    device: str = "auto",
    dataset: Given | None = None,
) -> dict[str, Any]:
    """Test the network of a retrain run as its last checkpoint holds it.

    Of a run with ``ema_decay`` it is the averaged network, as in the run itself.

    Args:
        run_folder: The folder of a run of :func:`adarts_ext.retrain.retrain`, ended or not.
        data_dir: Where the data set's files are; None for where they were in training.
        download: Fetch CIFAR when it is not there.
        device: auto, cpu, cuda or cuda:<number>.
        dataset: Data of one's own, as :func:`adarts_ext.retrain.retrain` takes them; those of a run
            that was given its data are given again.

    Returns:
        A dictionary with ``dataset``, ``test_images``, ``epoch`` (how many whole ones the network
        was trained for), ``epochs`` (how many it is to be trained for), ``test_accuracy`` in
        [0, 1], ``test_loss`` in nats, and the ``parameters``, ``parameters_with_auxiliary``,
        ``macs`` and ``flops`` of :func:`adarts_ext.retrain.cost.network_cost`.

    Raises:
        ValueError: If the folder holds a run of another kind or on other classes, or a damaged
            file. Other images of the same classes give a warning, and so does a damaged checkpoint
            that has a whole one before it.
        FileNotFoundError: If the folder holds no run or no checkpoint, or the data are not there.
    """
    folder = Path(run_folder)
    config = RetrainConfig.load(folder)
    genotype = Genotype.load(folder / GENOTYPE_FILE)
    checkpoint, checkpoint_file = load_newest(folder, "retrain")
    chosen_device = resolve_device(device)
    config = replace(config, device=device)
    if dataset is None:
        config = replace(config, data_dir=data_dir or config.data_dir, download=download)
    elif data_dir or download:
        raise ValueError("dataset: expected neither data_dir nor download beside it")
    data = load_data(config, dataset)
    changed = changed_data(folder, data)
    if changed and changed.startswith(CLASSES_CHANGED):
        raise ValueError(f"{folder}: the run was trained on other data: {changed}")
    if changed:
        warnings.warn(f"{folder}: the run was trained on other data: {changed}", stacklevel=2)
    network = trained_network(genotype, config, data, chosen_device, checkpoint, checkpoint_file)
    test_loader = make_test_loader(config, data, chosen_device)
    test_loss, test_accuracy = evaluate_network(network, test_loader)
    return {
        "dataset": data.name,
        "test_images": len(data.test_images),
        "epoch": len(checkpoint["history"]),
        "epochs": config.epochs,
        "test_accuracy": test_accuracy,
        "test_loss": test_loss,
        **network_cost(genotype, config, data),
    }
