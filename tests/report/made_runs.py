"""Folders of runs that were never made, as their reports read them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from histories import make_history

from adarts_ext.bench.rows import write_rows
from adarts_ext.compare import Plan
from adarts_ext.compare.plan import RANDOM
from adarts_ext.files import write_json
from adarts_ext.genotype import random_genotype
from adarts_ext.retrain import RetrainConfig
from adarts_ext.runs.clock import PARTS
from adarts_ext.search import SearchConfig

EVIL = "<script>alert('1')</script> & \"$x$\""
DATASET = {
    "name": "folder",
    "train_images": 40,
    "test_images": 8,
    "class_names": [EVIL, "light"],
    "digest": "0123",
    "mean": [0.5],
    "std": [0.25],
}


def make_search(
    folder: Path, done: int = 4, ended: bool = True, seed: int = 0, steps: int = 2, **changes
) -> Path:
    """Make the folder of a search of four epochs, one of them the warm-up."""
    options = {"dataset": "folder", "data_dir": "images", "seed": seed}
    options |= {"steps": steps, "epochs": 4, "warmup_epochs": 1}
    _begin(folder, SearchConfig(**options | changes))
    history = [entry | _measured(entry["epoch"]) for entry in make_history(done, steps, warmup=1)]
    if done:
        write_json(folder / "history.json", history)
    (folder / "genotypes").mkdir()
    for epoch in range(1, done + 1):
        genotype = random_genotype(10 * seed + epoch, steps)
        genotype.save(folder / "genotypes" / f"epoch-{epoch:04d}.json")
    if ended:
        random_genotype(10 * seed + done, steps).save(folder / "genotype.json")
        write_json(folder / "result.json", {})
    return folder


def make_retrain(folder: Path, done: int = 3, ended: bool = True, seed: int = 0) -> Path:
    """Make the folder of a training of three epochs, tested after the second and the third."""
    options = {"init_channels": 4, "layers": 3, "epochs": 3, "test_every": 2}
    _begin(folder, RetrainConfig(dataset="folder", data_dir="images", seed=seed, **options))
    random_genotype(5, 2).save(folder / "genotype.json")
    history = [
        {
            "epoch": epoch,
            "train_loss": 2 / epoch,
            "train_accuracy": 1 - 0.8 / epoch,
            "test_loss": None if epoch == 1 else 1.0,
            "test_accuracy": {1: None, 2: 0.875, 3: 0.75 - seed / 8}[epoch],
            **_measured(epoch),
        }
        for epoch in range(1, done + 1)
    ]
    if done:
        write_json(folder / "history.json", history)
    if ended:
        write_json(folder / "result.json", {})
    return folder


def make_comparison(folder: Path, rows: int | None = None) -> Path:
    """Make the folder of a comparison of two arms over two seeds, with the first ``rows`` runs."""
    arms = {"attention": SearchConfig(steps=2), "a, b": SearchConfig(steps=2, selection="first")}
    plan = Plan(arms, (0, 1), RetrainConfig(epochs=20), random_genotypes=4)
    folder.mkdir(parents=True)
    plan.save(folder)
    made = [_row(place, *run) for place, run in enumerate(plan.runs())]
    write_rows(folder / "runs.jsonl", made[:rows])
    return folder


def _row(place: int, arm: str, seed: int) -> dict:
    searched = {"validation_accuracy": 0.5, "seconds": 9.0, "kept_bytes": 2_000_000}
    return {
        "arm": arm,
        "seed": seed,
        "genotype": asdict(random_genotype(place, 2)),
        "search": None if arm == RANDOM else searched,
        "retrain": {"parameters": 10_000 + 1000 * place, "test_accuracy_last": 0.9 - place / 50},
    }


def _begin(folder: Path, config: SearchConfig | RetrainConfig) -> None:
    folder.mkdir(parents=True)
    config.save(folder)
    size = config.image_size or 16
    write_json(folder / "dataset.json", DATASET | {"image_size": [size, size]})
    write_json(folder / "machine.json", {"torch": "2.14.1", "device": "cpu"})


def _measured(epoch: int) -> dict:
    return {
        "learning_rate": 0.025 / epoch,
        "seconds": 2.0,
        "time": dict.fromkeys(PARTS, 2.0 / len(PARTS)),
        "images_per_second": 30.0,
        "peak_memory_bytes": 10**9,
    }
