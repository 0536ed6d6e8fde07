"""Testing a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adarts_ext.data import load_dataset
from adarts_ext.files import CHECKPOINT_FILE, load_checkpoint
from adarts_ext.retrain.config import load_run
from adarts_ext.retrain.network import build_network, load_weights, network_cost
from adarts_ext.retrain.train import make_test_loader
from adarts_ext.training import evaluate_network, resolve_device


def evaluate(
    run_folder: str | Path,
    data_dir: str | None = None,
    download: bool = False,
    device: str = "auto",
) -> dict[str, Any]:
    """Test the network of a retrain run as its last checkpoint holds it.

    Args:
        run_folder: the folder of a run of :func:`adarts_ext.retrain.retrain`, ended or not.
        data_dir: where the data set's files are; None for where they were in training.
        download: fetch CIFAR when it is not there.
        device: auto, cpu, cuda or cuda:<number>.

    Returns:
        A dictionary with ``dataset``, ``test_images``, ``epoch`` (how many the network was
        trained for), ``epochs`` (how many it is to be trained for), ``test_accuracy`` in [0, 1],
        ``test_loss`` in nats, and the ``parameters``, ``parameters_with_auxiliary`` and ``flops``
        of :func:`adarts_ext.retrain.network.network_cost`.

    Raises:
        ValueError: the folder holds a run of another kind, or a damaged file.
        FileNotFoundError: the folder holds no run or no checkpoint, or the data are not there.
    """
    folder = Path(run_folder)
    genotype, config = load_run(folder)
    checkpoint = load_checkpoint(folder / CHECKPOINT_FILE, "retrain")
    chosen_device = resolve_device(device)
    dataset = load_dataset(config.dataset, data_dir or config.data_dir, download, config.image_size)
    network = build_network(genotype, config, dataset).to(chosen_device)
    load_weights(network, checkpoint, folder / CHECKPOINT_FILE)
    test_loader = make_test_loader(dataset, config, chosen_device)
    test_loss, test_accuracy = evaluate_network(network, test_loader)
    return {
        "dataset": dataset.name,
        "test_images": len(dataset.test_images),
        "epoch": len(checkpoint["history"]),
        "epochs": config.epochs,
        "test_accuracy": test_accuracy,
        "test_loss": test_loss,
        **network_cost(genotype, config, dataset),
    }
